"""The built-in calibrators: plug-ins like anyone's, which see the public contract only."""

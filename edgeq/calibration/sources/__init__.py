"""Where samples come from: folders, files and Python objects, read lazily and checked.

:func:`open_source` takes whatever the user names as DATA and gives a :class:`SampleSource`: samples
that fit the model, one at a time, with all that was assumed on the way said in sentences.
"""

from edgeq.calibration.sources.opening import open_source
from edgeq.calibration.sources.reading import InputSpec, SampleSource

__all__ = ["InputSpec", "SampleSource", "open_source"]

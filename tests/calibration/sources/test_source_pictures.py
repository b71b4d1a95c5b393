"""Pictures are fed as calib.toml says, or as the model's shape suggests."""

import numpy as np
import pytest
from PIL import Image

from edgeq.calibration.sources import InputSpec, open_source
from edgeq.errors import DataError

NCHW = InputSpec("x", np.dtype(np.float32), ("n", 3, 4, 6))
NHWC = InputSpec("x", np.dtype(np.float32), ("n", 4, 6, 3))
ANY_SIZE = InputSpec("x", np.dtype(np.float32), ("n", 3, "h", "w"))


def pixels(height=4, width=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(array, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def settings(folder, text):
    (folder / "calib.toml").write_text(text)


def only(folder, *inputs):
    (sample,) = open_source(folder, inputs)
    return sample["x"]


@pytest.mark.parametrize(("spec", "axes"), [(NCHW, (2, 0, 1)), (NHWC, (0, 1, 2))])
def test_the_layout_is_inferred_from_the_shape_and_said(tmp_path, spec, axes):
    save(pixels(), tmp_path / "a.png")
    source = open_source(tmp_path, [spec])
    (sample,) = source
    wanted = pixels().transpose(axes)[None] / np.float32(255)
    assert sample["x"].dtype == np.float32
    assert np.array_equal(sample["x"], wanted)
    said = " ".join(source.assumptions)
    for word in ("NCHW" if spec is NCHW else "NHWC", "RGB", "height 4", "255", "mean 0", "stretch"):
        assert word in said


def test_calib_toml_gives_the_formula_in_the_order_of_color(tmp_path):
    save(pixels(), tmp_path / "a.png")
    settings(
        tmp_path,
        'input="x"\nlayout="NCHW"\nsize=[4,6]\ncolor="BGR"\nresize="stretch"\nscale=128\n'
        'mean=[0.1,0.2,0.3]\nstd=[1,2,3]\ndtype="float32"',
    )
    source = open_source(tmp_path, [NCHW])
    (sample,) = source
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([1, 2, 3])
    wanted = (pixels()[..., ::-1].astype(np.float32) / 128 - mean) / std
    assert np.array_equal(sample["x"][0], wanted.transpose(2, 0, 1))
    assert source.assumptions == ()
    assert source.description == f"1 picture in {tmp_path}/ (calib.toml)"


def test_a_uint8_model_gets_raw_pixels(tmp_path):
    save(pixels(), tmp_path / "a.png")
    spec = InputSpec("x", np.dtype(np.uint8), (1, 4, 6, 3))
    source = open_source(tmp_path, [spec])
    (sample,) = source
    assert sample["x"].dtype == np.uint8
    assert np.array_equal(sample["x"][0], pixels())
    assert "as they are" in source.assumptions[-1]


def test_an_int8_model_is_fed_with_shifted_pixels_once_told_to(tmp_path):
    save(pixels(), tmp_path / "a.png")
    spec = InputSpec("x", np.dtype(np.int8), (1, 4, 6, 3))
    with pytest.raises(DataError, match=r"a\.png.*int8 cannot hold.*mean = 128"):
        only(tmp_path, spec)
    settings(tmp_path, "mean=128")
    assert np.array_equal(only(tmp_path, spec)[0], pixels().astype(int) - 128)


def test_a_dynamic_size_keeps_the_picture_s_own(tmp_path):
    save(pixels(5, 7), tmp_path / "a.png")
    save(pixels(3, 2), tmp_path / "b.png")
    source = open_source(tmp_path, [ANY_SIZE])
    assert [sample["x"].shape for sample in source] == [(1, 3, 5, 7), (1, 3, 3, 2)]
    assert any("keeps its own" in sentence for sentence in source.assumptions)


def test_one_static_side_keeps_the_aspect_ratio(tmp_path):
    save(pixels(8, 20), tmp_path / "a.png")
    spec = InputSpec("x", np.dtype(np.float32), (1, 3, 4, None))
    assert only(tmp_path, spec).shape == (1, 3, 4, 10)


def test_an_input_without_batch_dimension_gets_none(tmp_path):
    save(pixels(), tmp_path / "a.png")
    assert only(tmp_path, InputSpec("x", np.dtype(np.float32), (4, 6, 3))).shape == (4, 6, 3)


def test_gray_models_get_one_channel(tmp_path):
    save(pixels(), tmp_path / "a.png")
    gray = np.asarray(Image.fromarray(pixels()).convert("L"), np.float32) / np.float32(255)
    fed = only(tmp_path, InputSpec("x", np.dtype(np.float32), (1, 1, 4, 6)))
    assert np.array_equal(fed[0, 0], gray)


def test_stretch_ignores_the_aspect_ratio(tmp_path):
    save(np.full((20, 3, 3), 255, np.uint8), tmp_path / "a.png")
    assert (only(tmp_path, NCHW) == 1).all()


def test_pad_centres_on_the_mean_colour(tmp_path):
    save(np.full((8, 4, 3), 255, np.uint8), tmp_path / "a.png")
    settings(tmp_path, 'resize="pad"\nmean=[0.5,0.4,0.3]\nstd=0.5')
    fed = only(tmp_path, NCHW)[0]
    assert (fed[:, :, [0, 1, 4, 5]] == 0).all()
    assert (fed[:, :, 2:4] > 0).all()


def test_crop_scales_the_short_side_and_takes_the_centre(tmp_path):
    array = np.zeros((4, 26, 3), np.uint8)
    array[:, 10:16] = 255
    save(array, tmp_path / "a.png")
    settings(tmp_path, 'resize="crop"')
    assert (only(tmp_path, NCHW) == 1).all()


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(4, 6), (1, 1), (3, 50), (50, 3), (5, 6), (9, 13)])
def test_any_picture_reaches_the_size(tmp_path, resize, size):
    save(pixels(*size), tmp_path / "a.png")
    settings(tmp_path, f'resize="{resize}"')
    assert only(tmp_path, NCHW).shape == (1, 3, 4, 6)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "bmp", "webp", "ppm", "gif"])
def test_common_formats_are_read(tmp_path, suffix):
    save(pixels(), tmp_path / f"a.{suffix}")
    assert only(tmp_path, NCHW).shape == (1, 3, 4, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_any_8_bit_mode_becomes_rgb(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(pixels()).convert("RGBA").convert(mode).save(tmp_path / f"a.{suffix}")
    assert only(tmp_path, NCHW).shape == (1, 3, 4, 6)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    picture = Image.fromarray(pixels()).convert("P")
    picture.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert only(tmp_path, NCHW).shape == (1, 3, 4, 6)


def test_exif_orientation_turns_the_picture_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(pixels(6, 4), tmp_path / "a.png", exif=exif)
    upright = np.rot90(pixels(6, 4), -1) / np.float32(255)
    assert np.array_equal(only(tmp_path, NHWC)[0], upright)


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 6), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png.*more than 8 bits"):
        only(tmp_path, NCHW)


@pytest.mark.parametrize("keep", [0, 10, 60])
def test_an_unreadable_picture_is_named(tmp_path, keep):
    save(pixels(40, 40), tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"b\.png: the picture cannot be read"):
        list(open_source(tmp_path, [NCHW]))


def test_pictures_come_sorted_by_name_up_to_the_limit(tmp_path):
    for value in (3, 1, 2):
        save(np.full((4, 6, 3), value, np.uint8), tmp_path / f"{value}.png")
    source = open_source(tmp_path, [NCHW], max_samples=2)
    assert [round(float(sample["x"].max()) * 255) for sample in source] == [1, 2]
    assert source.length_hint() == 2
    assert source.description == f"2 of 3 pictures in {tmp_path}/"


def test_several_inputs_have_a_table_each(tmp_path):
    save(pixels(), tmp_path / "a.png")
    other = InputSpec("mask", np.dtype(np.float32), (1, 4, 6, 1))
    settings(tmp_path, 'mean=0.5\n[inputs.x]\nlayout="NCHW"\n[inputs.mask]\nmean=0\ncolor="GRAY"')
    (sample,) = open_source(tmp_path, [NCHW, other])
    assert sample["x"].min() < 0
    assert sample["mask"].shape == (1, 4, 6, 1)
    assert sample["mask"].min() >= 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 'RGB'", "unknown key 'colour'.*'color'"),
        ("[inputs.x]\nmaen = 1", r"\[inputs\].*unknown key 'maen'.*'mean'"),
        ("[inputs.y]\nmean = 1", "no input 'y'"),
        ("input = 'y'", "no input 'y'"),
        ("input = 'x'\n[inputs.x]", "either input or tables"),
        ("inputs = 3", r"a table, \[inputs\]"),
        ("layout = 'CHW'", "layout = 'CHW'.*NCHW, NHWC"),
        ("input = 3", "a text in quotes"),
        ("size = 224", r"\[height, width\]"),
        ("size = [0, 4]", r"\[height, width\]"),
        ("mean = [1, 2]", "one for each of RGB"),
        ("mean = 'a'", "a number"),
        ("std = [1, 0, 1]", "not 0"),
        ("scale = 0", "not 0"),
        ("dtype = 'floaty'", "NumPy number type"),
        ("mean = ", "cannot be read"),
    ],
)
def test_a_mistake_in_calib_toml_is_named(tmp_path, text, said):
    save(pixels(), tmp_path / "a.png")
    settings(tmp_path, text)
    with pytest.raises(DataError, match=rf"calib\.toml.*{said}"):
        open_source(tmp_path, [NCHW])


@pytest.mark.parametrize("shape", [None, (1, 10), ("n", None, None, None), ("n", 4, 8, 8)])
def test_a_shape_that_tells_nothing_asks_for_calib_toml(tmp_path, shape):
    save(pixels(), tmp_path / "a.png")
    with pytest.raises(DataError, match=r"does not tell how pictures feed it.*layout"):
        open_source(tmp_path, [InputSpec("x", np.dtype(np.float32), shape)])


def test_calib_toml_is_enough_where_the_shape_tells_nothing(tmp_path):
    save(pixels(), tmp_path / "a.png")
    settings(tmp_path, 'layout="NHWC"\nsize=[2,2]')
    assert only(tmp_path, InputSpec("x", np.dtype(np.float32), None)).shape == (1, 2, 2, 3)


def test_inputs_that_no_picture_feeds_are_named(tmp_path):
    save(pixels(), tmp_path / "a.png")
    other = InputSpec("scale", np.dtype(np.float32), (1, 2))
    with pytest.raises(DataError, match=r"2 inputs: x, scale.*\.npz"):
        open_source(tmp_path, [NCHW, other])
    settings(tmp_path, 'input="x"')
    with pytest.raises(DataError, match=r"the input 'scale'.*\.npz"):
        open_source(tmp_path, [NCHW, other])


def test_labels_csv_labels_the_pictures_that_are_read(tmp_path):
    for name in "abc":
        save(pixels(), tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("\ufefffile,label\nc.png,7\na.png,5\nb.png,6\n", "utf-8")
    source = open_source(tmp_path, [NCHW], max_samples=2)
    assert source.labels["label"].tolist() == [5, 6]
    assert source.labels["label"].dtype == np.int64


def test_labels_may_be_texts(tmp_path):
    save(pixels(), tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text('a.png,"hello, you"\n')
    assert open_source(tmp_path, [NCHW]).labels["label"].tolist() == ["hello, you"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.pgn,1", r"'a\.pgn' is not in the folder.*'a\.png'"),
        ("file,label", "1 files have no label.*a.png"),
        ("a.png,1\na.png,2", "line 2"),
        ("a.png", "line 1"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_mistake_in_labels_csv_is_named(tmp_path, text, said):
    save(pixels(), tmp_path / "a.png")
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    source = open_source(tmp_path, [NCHW])
    assert len(list(source)) == 1
    with pytest.raises(DataError, match=said):
        _ = source.labels


def test_class_folders_label_their_pictures_and_a_limit_spreads_over_them(tmp_path):
    for name in ("cat", "dog", "emu"):
        for index in range(4):
            save(pixels(), tmp_path / name / f"{index}.png")
    source = open_source(tmp_path, [NCHW], max_samples=6)
    assert len(list(source)) == 6
    assert source.labels["label"].tolist() == [0, 0, 1, 1, 2, 2]
    assert source.labels["class"].tolist() == ["cat", "cat", "dog", "dog", "emu", "emu"]
    assert "0 = cat, 1 = dog, 2 = emu" in source.assumptions[-1]


def test_class_folders_named_by_numbers_are_their_labels(tmp_path):
    for name in ("10", "9"):
        save(pixels(), tmp_path / name / "a.png")
    source = open_source(tmp_path, [NCHW])
    assert source.labels["label"].tolist() == [10, 9]
    assert list(source.labels) == ["label"]


def test_pictures_without_labels_have_none(tmp_path):
    save(pixels(), tmp_path / "a.png")
    assert open_source(tmp_path, [NCHW]).labels == {}

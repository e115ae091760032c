import pytest

from studio.cli.parser import parse
from studio.cli.request import build_request, parse_adapter, parse_control, parse_options, read_params
from studio.errors import InvalidRequestError
from studio.params import AdapterRef, ControlUnit, Region

KEPT = "a" * 64


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with map.png, init.png and mask.png, to stand in."""
    for name in ("map", "init", "mask"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(data):
    """A stand-in for the asset store: the id tells what was kept."""
    return data.hex().rjust(64, "0")


def request(*words):
    return build_request(parse(["generate", "--out", "x.png", *words]), keep)


def test_flags_become_the_fields_of_the_same_meaning(pictures):
    made = request(
        *("--prompt", "a red house", "--negative", "blur", "--checkpoint", "desk", "--width", "128", "--height", "64"),
        *(
            "--steps",
            "5",
            "--guidance",
            "3.5",
            "--scheduler",
            "ddim",
            "--sigmas",
            "karras",
            "--seed",
            "7",
            "--count",
            "2",
        ),
        *("--init", "init.png", "--strength", "0.5", "--mask", "mask.png", "--adapter", "ink:0.5"),
    )
    assert (made.prompt, made.negative_prompt, made.checkpoint) == ("a red house", "blur", "desk")
    assert (made.width, made.height, made.num_inference_steps, made.guidance_scale) == (128, 64, 5, 3.5)
    assert (made.scheduler, made.sigmas, made.seed, made.count) == ("ddim", "karras", 7, 2)
    assert (made.init_image, made.mask_image, made.strength) == (keep(b"init"), keep(b"mask"), 0.5)
    assert made.adapters == (AdapterRef(name="ink", weight=0.5),)


def test_what_is_not_said_stays_open():
    made = request("--prompt", "x")
    assert made.to_dict() == {"prompt": "x", "count": 1}


def test_a_control_carries_its_options(pictures):
    made = request("--prompt", "", "--control", "scribble=map.png,scale=0.5,start=0.1,end=0.9,model=mine")
    assert made.controls == (
        ControlUnit(
            kind="scribble",
            map=keep(b"map"),
            conditioning_scale=0.5,
            control_guidance_start=0.1,
            control_guidance_end=0.9,
            model="mine",
        ),
    )


def test_a_control_may_say_where_it_counts_and_who_matters_more(pictures):
    made = request(
        "--prompt", "", "--control", "reference=map.png,mask=mask.png,mode=prompt,resize=fill,fidelity=0.2,end=0.4"
    )
    assert made.controls == (
        ControlUnit(
            kind="reference",
            map=keep(b"map"),
            mask=keep(b"mask"),
            mode="prompt",
            resize_mode="fill",
            fidelity=0.2,
            control_guidance_end=0.4,
        ),
    )


def test_the_pictures_of_a_control_in_a_settings_file_lie_beside_it(pictures):
    (pictures / "all.toml").write_text(
        'prompt = "x"\n[[controls]]\nkind = "reference"\nmap = "map.png"\nmask = "mask.png"\nimages = ["init.png"]\n'
    )
    (unit,) = read_params(pictures / "all.toml", keep)["controls"]
    assert (unit["map"], unit["mask"], unit["images"]) == (keep(b"map"), keep(b"mask"), [keep(b"init")])


def test_regions_are_told_in_a_settings_file(pictures):
    region = '[[controls.regions]]\ncolor = "#ff0000"\nwords = "a house"\nweight = 0.5\n'
    (pictures / "said.toml").write_text(
        f'prompt = "x"\n[[controls]]\nkind = "regions"\nmap = "map.png"\nsoftness = 0.1\n{region}'
    )
    made = request("--params", str(pictures / "said.toml"))
    regions = (Region(color="#ff0000", words="a house", weight=0.5),)
    assert made.controls == (ControlUnit(kind="regions", map=keep(b"map"), softness=0.1, regions=regions),)


def test_a_file_name_may_hold_commas_and_equals_signs(pictures):
    (pictures / "a,b=c,d.png").write_bytes(b"odd")
    unit = parse_control("scribble=a,b=c,d.png,scale=1", keep)
    assert unit == {"kind": "scribble", "map": keep(b"odd"), "conditioning_scale": 1.0}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scribble", "names no kind and file"),
        ("=map.png", "names no kind and file"),
        ("scribble=,scale=1", "names no kind and file"),
        ("scribble=gone.png", r"gone\.png cannot be read"),
        ("scribble=map.png,scale=much", "'much', which is not a number"),
    ],
)
def test_a_wrong_control_is_refused(text, sentence, pictures):
    with pytest.raises(InvalidRequestError, match=sentence):
        parse_control(text, keep)


def test_a_photo_is_sent_with_what_makes_a_map_of_it(pictures):
    made = request("--prompt", "", "--control", "scribble=init.png,annotate=canny,scale=0.5")
    assert made.controls == (
        ControlUnit(
            kind="scribble",
            source=keep(b"init"),
            annotator="canny",
            conditioning_scale=0.5,
        ),
    )


def test_a_settings_file_may_name_a_photo_in_place_of_a_map(pictures):
    (pictures / "photo.toml").write_text(
        '[[controls]]\nkind = "edges"\nsource = "init.png"\nannotator = "canny"\n'
        'annotator_options = [["low_threshold", 50]]\n'
    )
    made = request("--params", "photo.toml", "--prompt-mode", "automatic")
    options = (("low_threshold", 50.0),)
    assert made.controls == (
        ControlUnit(kind="edges", source=keep(b"init"), annotator="canny", annotator_options=options),
    )


def test_words_that_come_from_elsewhere_need_no_prompt(pictures):
    assert request("--prompt-mode", "none").to_dict() == {"prompt_mode": "none", "count": 1}
    with pytest.raises(InvalidRequestError, match="no prompt"):
        request("--prompt-mode", "typed")


def test_options_are_numbers_by_name():
    assert parse_options(["a=1", "b=0.5", "a=2"]) == {"a": 2.0, "b": 0.5}


@pytest.mark.parametrize("text", ["a", "=1", "a=", "a=much"])
def test_a_wrong_option_is_refused(text):
    with pytest.raises(InvalidRequestError, match="--option"):
        parse_options([text])


def test_a_settings_file_is_read_and_flags_win(pictures):
    (pictures / "sub").mkdir()
    (pictures / "sub" / "house.toml").write_text(
        'prompt = "a house"\nseed = 3\ninit_image = "../init.png"\nmask_image = "' + KEPT + '"\n'
        '[[controls]]\nkind = "scribble"\nmap = "../map.png"\nconditioning_scale = 0.5\n'
    )
    made = request("--params", "sub/house.toml", "--seed", "4")
    assert (made.prompt, made.seed) == ("a house", 4)
    assert (made.init_image, made.mask_image) == (keep(b"init"), KEPT)
    assert made.controls == (ControlUnit(kind="scribble", map=keep(b"map"), conditioning_scale=0.5),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prompt = ", "cannot be read"),
        ('prompt = "x"\ncolour = 1', "Unknown field 'colour'"),
        ('prompt = "x"\nguidance_scale = nan', "finite"),
        ('prompt = "x"\ncontrols = 3', "controls must be a list"),
        ("seed = 1", "There is no prompt"),
    ],
)
def test_a_wrong_settings_file_is_refused(text, sentence, pictures):
    (pictures / "wrong.toml").write_text(text)
    with pytest.raises(InvalidRequestError, match=sentence):
        request("--params", "wrong.toml")


def test_a_settings_file_that_is_not_there_is_named(pictures):
    with pytest.raises(InvalidRequestError, match=r"gone\.toml cannot be read: No such file"):
        request("--params", "gone.toml")


def test_a_prompt_is_needed():
    with pytest.raises(InvalidRequestError, match="no prompt"):
        request()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ink", AdapterRef(name="ink")),
        ("ink:-0.5", AdapterRef(name="ink", weight=-0.5)),
        ("a, b:2", AdapterRef(name="a, b", weight=2)),
        ("mood:0.7,kind=hypernetwork", AdapterRef(name="mood", weight=0.7, kind="hypernetwork")),
        (
            "ink:0.8,text=0.5,start=0.1,end=0.6,curve=fall",
            AdapterRef(name="ink", weight=0.8, text_weight=0.5, start=0.1, end=0.6, curve="fall"),
        ),
    ],
)
def test_an_adapter_is_read_with_what_is_said_of_it(text, expected):
    assert AdapterRef(**parse_adapter(text)) == expected


@pytest.mark.parametrize("text", ["ink:strong", "ink,text=much"])
def test_a_weight_that_is_no_number_is_refused(text):
    with pytest.raises(InvalidRequestError, match="not a number"):
        parse_adapter(text)

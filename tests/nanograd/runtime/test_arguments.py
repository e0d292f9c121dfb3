"""The parser of both programs: options and their help, errors of one line, suggestions."""

import pytest

from nanograd.runtime.arguments import Parser, dispatch, nearest, wrap


def oven() -> Parser:
    parser = Parser(prog="python -m bakery bake")
    parser.option("-n --loaves", "loaves, 100 % rye", 3, least=1)
    parser.option("--salt", "spoons of salt", 0.5)
    parser.option("--guests", "who comes (default: nobody)", kind=int)
    parser.option("--flour", "a file of flour", "rye.txt", metavar="FILE")
    parser.option("--heat", "from above or below", "above", choices=("above", "below"))
    parser.option("--dark", "bake it dark", False)
    return parser


def test_the_default_of_an_option_gives_its_type() -> None:
    defaults = {"loaves": 3, "salt": 0.5, "guests": None, "flour": "rye.txt", "heat": "above", "dark": False}
    assert vars(oven().parse([])) == defaults
    words = ["-n", "7", "--salt", "1", "--guests", "4", "--flour", "12", "--heat", "below", "--dark"]
    values = {"loaves": 7, "salt": 1.0, "guests": 4, "flour": "12", "heat": "below", "dark": True}
    assert vars(oven().parse(words)) == values


def test_the_help_of_an_option_ends_with_its_default() -> None:
    lines = [" ".join(line.split()) for line in oven().format_help().splitlines()]
    assert lines[-6].endswith("--loaves N loaves, 100 % rye (default 3)")
    assert lines[-5:] == [
        "--salt X spoons of salt (default 0.5)",
        "--guests N who comes (default: nobody)",
        "--flour FILE a file of flour (default rye.txt)",
        "--heat {above,below} from above or below (default above)",
        "--dark bake it dark",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-n 0", "argument -n/--loaves: must be a whole number from 1, got '0'"),
        ("--salt much", "argument --salt: must be a number, got 'much'"),
        ("--guests 1.5", "argument --guests: must be a whole number, got '1.5'"),
    ],
)
def test_a_wrong_value_of_an_option_is_an_error(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        oven().parse(words.split())
    assert message in capsys.readouterr().err


def test_a_wrong_choice_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        oven().parse(["--heat", "belwo"])
    line = "argument --heat: must be above or below, got 'belwo'; did you mean below?; see python -m bakery bake --help"
    assert capsys.readouterr().err == f"bakery bake: {line}\n"


class Baker(Parser):
    synonyms = {"nacl": "salt", "bread": "cake loaves", "pie": "CAKE"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--slat", "; did you mean --salt?"),
        ("--sal", "; did you mean --salt?"),  # by its beginning: no abbreviations
        ("--SALT", "; did you mean --salt?"),
        ("--nacl=3", "; did you mean --salt?"),
        ("--bread", "; did you mean --loaves?"),  # the first that this command has
        ("--pie", "; give CAKE without a flag"),
        ("--qqqq", ""),
        ("-q", ""),
    ],
)
def test_an_unknown_flag_leads_to_the_right_one(flag: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = Baker(prog="python -m bakery bake")
    parser.option("--loaves", "loaves", 3)
    parser.option("--salt", "spoons of salt", 0.5)
    parser.add_argument("cake", metavar="CAKE")
    with pytest.raises(SystemExit) as caught:
        parser.parse(["sponge", flag])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"bakery bake: unknown flag {flag}{hint}; see python -m bakery bake --help\n"


def test_an_unexpected_word_may_be_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="python -m bakery bake")
    parser.option("--data", "a file of flour")
    with pytest.raises(SystemExit):
        parser.parse(["rye.txt"])
    assert "unexpected 'rye.txt'; did you mean --data 'rye.txt'?" in capsys.readouterr().err


def test_paragraphs_are_wrapped_and_examples_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Bake\nbread " + "and cake " * 12 + "\n    python -m bakery  bake\nor\nbuy.\n\nTwo."
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        lines = wrap(text).splitlines()
        assert max(map(len, lines)) <= 78
        assert lines[0].startswith("Bake bread and cake and")
        assert lines[-4:] == ["    python -m bakery  bake", "or buy.", "", "Two."]
    monkeypatch.setenv("COLUMNS", "30")
    assert max(map(len, wrap(text).splitlines())) <= 30


def test_a_help_is_no_wider_in_a_wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    parser = Parser(prog="bake", description="Bake bread. " * 20)
    parser.option("--salt", "spoons of salt, " * 20, 0.5)
    assert 70 < max(map(len, parser.format_help().splitlines())) <= 78


def test_dispatch(capsys: pytest.CaptureFixture[str]) -> None:
    actions = {"bake": len, "sell": lambda words: 7}
    assert dispatch("bakery", "action", actions, "Help.", ["bake", "a", "b"]) == 2
    for words in ([], ["-h"], ["--help"], ["help"]):
        assert dispatch("bakery", "action", actions, "Help.", words) == 0
        assert capsys.readouterr().out == "Help.\n"
    assert dispatch("bakery", "action", actions, "Help.", ["bkae"]) == 2
    line = "bakery: unknown action 'bkae'; did you mean bake?; see python -m bakery --help\n"
    assert capsys.readouterr().err == line


def test_nearest() -> None:
    assert nearest("--d-modle", ["--d-model", "--d-ff"]) == "; did you mean --d-model?"
    assert nearest("--xyz", ["--d-model", "--d-ff"]) == ""

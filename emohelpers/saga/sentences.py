"""The sentences of notebooks 02 and 03."""

from pathlib import Path

from emohelpers.report import templates

SENTENCES = templates.sentences(Path(__file__).with_name("sentences.jinja"))

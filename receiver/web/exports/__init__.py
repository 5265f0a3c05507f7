"""
Lists as files: CSV for spreadsheets, and JSON Lines for programs.

A file holds the whole list, and is sent in parts. Each part is read from the database when the
client has taken the one before, so that a list of any length takes little memory and no long
transaction. Lists that are short, such as that of the keys, are read at once.
"""

from receiver.web.exports.answers import (
    AnyPart,
    Part,
    described,
    file_answer,
    or_file,
    whole_file,
)
from receiver.web.exports.formats import FileFormat, Sheet
from receiver.web.exports.lists import events_file, events_of_server_file, servers_file

__all__ = [
    "AnyPart",
    "FileFormat",
    "Part",
    "Sheet",
    "described",
    "events_file",
    "events_of_server_file",
    "file_answer",
    "or_file",
    "servers_file",
    "whole_file",
]

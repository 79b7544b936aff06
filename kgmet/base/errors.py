"""The exception tree: every error a caller may want to tell apart.

Each message names the object, shows the value and says what to do next::

    KgmetError
    ├── RequestError          the edit as typed cannot be carried out
    │   ├── TemplateError         not exactly one '{}' in the prompt
    │   ├── EmptyTextError        a field without text
    │   ├── TextError             a field that is too long, or holds control characters
    │   ├── SubjectNotFoundError  the subject is not in the prompt
    │   ├── SameObjectError       old and new object are the same
    │   └── ContradictionError    two edits of one batch give one fact two objects
    ├── ConfigError           a setting is unknown, of the wrong type or out of range
    │   └── ConfigFileError       a file of settings that cannot be read
    ├── GraphError            anything about triples
    │   ├── UnknownEntityError    no such entity in the store
    │   ├── UnknownRelationError  no such relation in the store or catalogue
    │   ├── GraphFileError        a file of triples that cannot be read; says the line
    │   └── EndpointError         a SPARQL endpoint that fails, sends invalid data or is not allowed
    ├── ModelError            anything about loading a language model
    │   ├── ModelNotFoundError    no such folder, id or wheel
    │   ├── UnsupportedModelError the family is not in the table
    │   ├── BrokenModelError      a file is damaged or does not fit
    │   └── MemoryLimitError      it does not fit; says what would
    ├── ArtifactError         anything saved to disk
    │   ├── BrokenArtifactError   damaged, incomplete or hostile file
    │   ├── StaleArtifactError    made for another model, corpus or setting
    │   └── UnwritableError       the place is read-only, full or gone
    ├── SearchError           the search for a shift failed
    │   └── NonFiniteError        NaN or infinity
    └── Cancelled             the user asked to stop; nothing was applied

Every error about what a file holds (`GraphFileError`, `ConfigFileError`, `BrokenArtifactError`) is also a `FileError`.
"""

from __future__ import annotations


class KgmetError(Exception):
    """Base class of all errors raised on purpose by this library."""


class RequestError(KgmetError, ValueError):
    """The edit as typed cannot be carried out."""


class TemplateError(RequestError):
    """A prompt template without exactly one ``{}``."""


class EmptyTextError(RequestError):
    """A field that must hold text is empty or blank."""


class TextError(RequestError):
    """A field is too long or holds characters a prompt cannot carry."""


class SubjectNotFoundError(RequestError):
    """The subject does not occur in the prompt."""


class SameObjectError(RequestError):
    """Old and new object are the same: nothing would change."""


class ContradictionError(RequestError):
    """Two edits of one batch give the same fact two different objects."""


class ConfigError(KgmetError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class FileError(KgmetError, ValueError):
    """The contents of a file cannot be used; the message says where and why."""


class ConfigFileError(ConfigError, FileError):
    """A file of settings cannot be read."""


class GraphError(KgmetError):
    """An error about triples or their source."""


class UnknownEntityError(GraphError, LookupError):
    """The store has no such entity."""


class UnknownRelationError(GraphError, LookupError):
    """The store or the catalogue has no such relation."""


class GraphFileError(GraphError, FileError):
    """A file of triples cannot be read; the message says where."""


class EndpointError(GraphError):
    """A SPARQL endpoint failed, sent invalid data or is not allowed."""


class ModelError(KgmetError):
    """An error in finding, loading or converting a language model."""


class ModelNotFoundError(ModelError, LookupError):
    """No such folder, hub id or wheel."""


class UnsupportedModelError(ModelError):
    """The model's family is not in the table of families."""


class BrokenModelError(ModelError):
    """A model file is damaged, incomplete or does not fit its config."""


class MemoryLimitError(ModelError, MemoryError):
    """The work does not fit into memory; the message says what would fit."""


class ArtifactError(KgmetError):
    """A saved file cannot be used, or a file cannot be saved."""


class BrokenArtifactError(ArtifactError, FileError):
    """A saved file is damaged, incomplete or not what it claims to be."""


class StaleArtifactError(ArtifactError):
    """A saved file was made for another model, corpus or setting."""


class UnwritableError(ArtifactError, OSError):
    """A file or folder cannot be written (read-only, disk full or missing). The unsaved value is still in memory."""


class SearchError(KgmetError):
    """The search for a shift could not be finished."""


class NonFiniteError(SearchError, ArithmeticError):
    """NaN or infinity where a finite number is needed."""


class Cancelled(KgmetError):
    """The user asked to stop. Nothing was applied."""

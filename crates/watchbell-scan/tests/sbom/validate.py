"""Checks a CycloneDX document by the published schema, and an SPDX document by the rules of its specification: arguments FORM FILE."""

import sys

form, path = sys.argv[1:]
if form == "cyclonedx":
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    with open(path, encoding="utf-8") as file:
        errors = [JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())]
    errors = [str(e) for e in errors if e is not None]
else:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    errors = [e.validation_message for e in validate_full_spdx_document(parse_file(path), "SPDX-2.3")]
for error in errors:
    print(error[:2000])
sys.exit(bool(errors))

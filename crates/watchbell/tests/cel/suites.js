// Prints the conformance suite of CEL's specification: for each test its sections, and the test as JSON.
const { toJson } = require("@bufbuild/protobuf");
const { SimpleTestSchema } = require("@bufbuild/cel-spec/cel/expr/conformance/test/simple_pb.js");
const { getTestRegistry } = require("@bufbuild/cel-spec/testdata/registry.js");
const { getConformanceSuite } = require("@bufbuild/cel-spec/testdata/tests.js");

const options = { registry: getTestRegistry() };
const found = [];
function walk(suite, above) {
  const sections = [...above, suite.name];
  for (const test of suite.tests) {
    found.push({ sections: sections.join("/"), name: test.name, test: toJson(SimpleTestSchema, test.original, options) });
  }
  suite.suites.forEach((inner) => walk(inner, sections));
}
getConformanceSuite().suites.forEach((suite) => walk(suite, []));
process.stdout.write(JSON.stringify(found));

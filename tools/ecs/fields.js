// Prints the fields of the Elastic Common Schema as the tests of watchbell-audit read them, from the npm package
// @elastic/ecs, which carries the published `ecs_flat.yml`:
//
//   npm install --no-save @elastic/ecs@9.4.0 && node tools/ecs/fields.js >crates/watchbell-audit/tests/ecs/fields.tsv
//
// A line a field: name, type, `array` when ECS says so, allowed values parted by commas. Of a category, the types of event
// that ECS expects with it stand after a colon, parted by slashes.
const { EcsFlat, EcsVersion } = require('@elastic/ecs');

console.log(`# Elastic Common Schema ${EcsVersion}, by @elastic/ecs (Apache-2.0); made by tools/ecs/fields.js`);
for (const name of Object.keys(EcsFlat).sort()) {
  const field = EcsFlat[name];
  const value = (v) => v.name + (v.expected_event_types ? ':' + v.expected_event_types.join('/') : '');
  const allowed = (field.allowed_values || []).map(value).join(',');
  console.log([name, field.type, (field.normalize || []).join(), allowed].join('\t'));
}

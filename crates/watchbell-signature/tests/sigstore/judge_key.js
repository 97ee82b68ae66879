// What sigstore-js says of bundles that a key signed: reads one question from standard input, writes a list of complaints.
'use strict';
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const question = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const root = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };

const complaints = question.map(({ bundle, key }) => {
  try {
    const parsed = bundleFromJSON(bundle);
    // By whatever hint: the key is the one that is asked for.
    const trust = toTrustMaterial(root, () => ({
      publicKey: require('crypto').createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' }),
      validFor: () => true,
    }));
    const none = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
    new Verifier(trust, none).verify(toSignedEntity(parsed));
    return null;
  } catch (error) {
    return `${error.code || error.name}: ${error.message}`.slice(0, 300);
  }
});
process.stdout.write(JSON.stringify(complaints));

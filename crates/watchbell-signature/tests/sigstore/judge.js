// What sigstore-js says of bundles: reads one question from standard input, writes a list of complaints (null: none).
'use strict';
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const question = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const document = Buffer.from(question.document, 'base64');
const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(question.root)));

function judge(asked) {
  const bundle = bundleFromJSON(asked.bundle);
  const entity = toSignedEntity(bundle, asked.predicate === null ? document : undefined);
  const exact = asked.identity.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  verifier.verify(entity, { subjectAlternativeName: `^${exact}$`, extensions: { issuer: asked.issuer } });
  // What is left to the caller: that it is of this document or statement at all.
  const envelope = bundle.content.dsseEnvelope;
  if (asked.predicate === null) {
    if (bundle.content.$case !== 'messageSignature') throw new Error('no signature of a document');
    return;
  }
  if (bundle.content.$case !== 'dsseEnvelope') throw new Error('no envelope');
  if (envelope.payloadType !== 'application/vnd.in-toto+json') throw new Error('payload type');
  const statement = JSON.parse(envelope.payload.toString());
  if (statement._type !== 'https://in-toto.io/Statement/v1') throw new Error('no statement');
  if (statement.predicateType !== asked.predicate) throw new Error('another predicate');
  if (!statement.subject.some((s) => s.digest.sha256 === question.digest)) throw new Error('another subject');
}

const complaints = question.cases.map((asked) => {
  try {
    judge(asked);
    return null;
  } catch (error) {
    return `${error.code || error.name}: ${error.message}`.slice(0, 300);
  }
});
process.stdout.write(JSON.stringify(complaints));

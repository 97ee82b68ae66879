//! Whether somebody who is trusted signed this digest: signatures and attestations as cosign and sigstore write them,
//! verified offline.

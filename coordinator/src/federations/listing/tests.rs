use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::manifest::Member;
use roundelay_protocol::testing;

use super::*;

fn signed() -> SignedManifest {
    let keys: Vec<_> =
        (1..=3).map(|seed| IdentityKey::from_seed(Secret::new([seed; 32]))).collect();
    let member = |(at, key): (usize, &IdentityKey)| Member {
        tenant: format!("t{at}").parse().unwrap(),
        tenant_key: key.public(),
        clients: vec![IdentityKey::from_seed(Secret::new([10 + at as u8; 32])).public()],
    };
    let manifest = testing::manifest(keys.iter().enumerate().map(member).collect());
    let mut signed = SignedManifest::draft(manifest).unwrap();
    for (at, key) in keys.iter().enumerate() {
        let signature = signed.manifest.sign(key);
        signed.add(None, &format!("t{at}").parse().unwrap(), signature).unwrap();
    }
    signed
}

#[test]
fn signatures_are_verified_once_for_all_who_ask_and_anew_once_anything_is_another() {
    let (verified, signed) = (Verified::default(), signed());
    let bytes = codec::encode(&signed);
    assert_eq!(verified.is_complete(&signed, &bytes, None), Ok(true));
    let mut forged = signed.clone();
    forged.signatures[0].1 = forged.signatures[1].1;
    // Under the same bytes nobody looks at the signatures again.
    assert_eq!(verified.is_complete(&forged, &bytes, None), Ok(true));
    let refused = verified.is_complete(&forged, &codec::encode(&forged), None);
    assert!(matches!(refused, Err(SignatureError::DoesNotVerify(_))), "{refused:?}");
    assert!(verified.is_complete(&forged, &bytes, Some(&signed.manifest)).is_err());
    let mut fewer = signed;
    fewer.signatures.pop();
    assert_eq!(verified.is_complete(&fewer, &codec::encode(&fewer), None), Ok(false));
}

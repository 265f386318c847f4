//! Keys that may sign, and those that may not (any more).

use pgp::composed::{ArmorOptions, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, Subpacket};
use pgp::types::{Duration, Password, Timestamp};

use super::*;
use crate::fake::Signer;
use crate::signature::{Expiry, SignatureError, verify};

fn keyring(certificate: SignedPublicKey) -> Keyring {
    Keyring {
        certificates: vec![certificate],
    }
}

fn now() -> u32 {
    Timestamp::now().as_secs()
}

fn accepts(signer: &Signer, certificate: SignedPublicKey, now: u32, expiry: Expiry) -> bool {
    let message = signer.sign("Suite: x\n");
    match verify(message.as_bytes(), &keyring(certificate), now, expiry) {
        Ok(signed) => {
            assert_eq!(signed.text, "Suite: x\n");
            true
        }
        Err(SignatureError::Untrusted { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

fn subpackets(data: Vec<SubpacketData>) -> Vec<Subpacket> {
    data.into_iter()
        .map(|data| Subpacket::regular(data).unwrap())
        .collect()
}

/// A signature of the primary key with these statements, made now.
fn config(signer: &Signer, kind: SignatureType, mut data: Vec<SubpacketData>) -> SignatureConfig {
    let mut config = SignatureConfig::v4(
        kind,
        signer.key.primary_key.algorithm(),
        HashAlgorithm::Sha256,
    );
    data.push(SubpacketData::SignatureCreationTime(Timestamp::now()));
    data.push(SubpacketData::IssuerFingerprint(
        signer.key.primary_key.fingerprint(),
    ));
    config.hashed_subpackets = subpackets(data);
    config
}

fn signing() -> SubpacketData {
    let mut flags = KeyFlags::default();
    flags.set_sign(true);
    SubpacketData::KeyFlags(flags)
}

/// The subkey bound by these statements, and nothing else.
fn rebind(signer: &Signer, data: Vec<SubpacketData>) -> SignedPublicKey {
    let mut certificate = signer.key.to_public_key();
    let config = config(signer, SignatureType::SubkeyBinding, data);
    let subkey = &mut certificate.public_subkeys[0];
    let binding = config.sign_subkey_binding(
        &signer.key.primary_key,
        &certificate.primary_key,
        &Password::empty(),
        &subkey.key,
    );
    subkey.signatures = vec![binding.unwrap()];
    certificate
}

/// The subkey's own word that it belongs to the primary key.
fn back_signature(signer: &Signer) -> SubpacketData {
    let signatures = &signer.key.secret_subkeys[0].signatures;
    let back = signatures[0].embedded_signature().unwrap().clone();
    SubpacketData::EmbeddedSignature(Box::new(back))
}

#[test]
fn a_subkey_signs_for_its_certificate() {
    let signer = Signer::new();
    assert!(accepts(
        &signer,
        signer.key.to_public_key(),
        now(),
        Expiry::Now
    ));
    let other = Signer::new().key.to_public_key();
    assert!(!accepts(&signer, other, now(), Expiry::Now));
}

#[test]
fn a_subkey_must_be_bound_for_signing_by_both_sides() {
    let signer = Signer::new();
    let good = rebind(&signer, vec![signing(), back_signature(&signer)]);
    assert!(accepts(&signer, good, now(), Expiry::Now));
    let not_agreed = rebind(&signer, vec![signing()]);
    assert!(!accepts(&signer, not_agreed, now(), Expiry::Now));
    let not_for_signing = rebind(&signer, vec![back_signature(&signer)]);
    assert!(!accepts(&signer, not_for_signing, now(), Expiry::Now));
    // Someone else's subkey, taken over with a binding of one's own.
    let thief = Signer::new();
    let mut stolen = thief.key.to_public_key();
    stolen.public_subkeys = signer.key.to_public_key().public_subkeys;
    assert!(!accepts(&signer, stolen, now(), Expiry::Now));
}

#[test]
fn expired_keys_sign_for_snapshots_alone() {
    let signer = Signer::new();
    let hour = SubpacketData::KeyExpirationTime(Duration::from_secs(3600));
    let certificate = rebind(&signer, vec![signing(), back_signature(&signer), hour]);
    let later = now() + 7200;
    assert!(accepts(&signer, certificate.clone(), now(), Expiry::Now));
    assert!(!accepts(&signer, certificate.clone(), later, Expiry::Now));
    assert!(accepts(&signer, certificate, later, Expiry::WhenSigned));
}

#[test]
fn an_expired_certificate_takes_its_subkeys_along() {
    let signer = Signer::new();
    let mut certificate = signer.key.to_public_key();
    let hour = SubpacketData::KeyExpirationTime(Duration::from_secs(3600));
    let user = &mut certificate.details.users[0];
    let signature = config(&signer, SignatureType::CertPositive, vec![hour])
        .sign_certification(
            &signer.key.primary_key,
            &certificate.primary_key,
            &Password::empty(),
            Tag::UserId,
            &user.id,
        )
        .unwrap();
    user.signatures = vec![signature];
    assert!(accepts(&signer, certificate.clone(), now(), Expiry::Now));
    assert!(!accepts(
        &signer,
        certificate.clone(),
        now() + 7200,
        Expiry::Now
    ));
    certificate.details.users.clear();
    assert!(
        !accepts(&signer, certificate, now(), Expiry::Now),
        "nothing says that it is a certificate"
    );
}

#[test]
fn revoked_keys_sign_nothing() {
    let signer = Signer::new();
    let (primary, password) = (&signer.key.primary_key, Password::empty());
    let public = signer.key.to_public_key();
    let revocation = config(&signer, SignatureType::KeyRevocation, vec![])
        .sign_key(primary, &password, &public.primary_key)
        .unwrap();
    let mut revoked = public.clone();
    revoked.details.revocation_signatures.push(revocation);
    assert!(!accepts(&signer, revoked, now(), Expiry::WhenSigned));

    let revocation = config(&signer, SignatureType::SubkeyRevocation, vec![])
        .sign_subkey_binding(
            primary,
            &public.primary_key,
            &password,
            &public.public_subkeys[0].key,
        )
        .unwrap();
    let mut revoked = public.clone();
    revoked.public_subkeys[0].signatures.push(revocation);
    assert!(!accepts(&signer, revoked, now(), Expiry::WhenSigned));

    let other = Signer::new();
    let foreign = config(&other, SignatureType::KeyRevocation, vec![])
        .sign_key(&other.key.primary_key, &password, &public.primary_key)
        .unwrap();
    let mut certificate = public;
    certificate.details.revocation_signatures.push(foreign);
    assert!(
        accepts(&signer, certificate, now(), Expiry::Now),
        "only the owner revokes"
    );
}

#[test]
fn signatures_of_the_future_are_not_believed() {
    let signer = Signer::new();
    assert!(!accepts(
        &signer,
        signer.key.to_public_key(),
        now() - 7200,
        Expiry::Now
    ));
    assert!(
        accepts(&signer, signer.key.to_public_key(), now() - 60, Expiry::Now),
        "clocks differ"
    );
}

#[test]
fn files_and_folders_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [Signer::new(), Signer::new()];
    let armored = one
        .key
        .to_public_key()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("one.asc"), armored).unwrap();
    fs::write(path("two.gpg"), [two.public(), one.public()].concat()).unwrap();
    fs::write(path("README"), "not a key").unwrap();
    assert_eq!(
        Keyring::load(&path("one.asc")).unwrap().certificates.len(),
        1
    );
    assert_eq!(
        Keyring::load(&path("two.gpg")).unwrap().certificates.len(),
        2
    );
    assert_eq!(Keyring::load(folder.path()).unwrap().certificates.len(), 3);
    assert!(matches!(
        Keyring::load(&path("README")),
        Err(KeyringError::Parse { .. })
    ));
    assert!(matches!(
        Keyring::load(&path("gone.gpg")),
        Err(KeyringError::Missing { .. })
    ));
    fs::create_dir(path("empty")).unwrap();
    assert!(matches!(
        Keyring::load(&path("empty")),
        Err(KeyringError::Missing { .. })
    ));
}

/// Made with GnuPG: two RSA certificates, of which one certifies itself with SHA-1.
#[test]
fn weak_hashes_count_neither_on_texts_nor_on_keys() {
    let of = |bytes: &[u8]| keyring(SignedPublicKey::from_armor_single(bytes).unwrap().0);
    let (strong, weak) = (
        of(include_bytes!("testdata/strong.asc")),
        of(include_bytes!("testdata/weak.asc")),
    );
    let check = |message: &[u8], keyring| verify(message, keyring, now(), Expiry::Now);
    let good = check(include_bytes!("testdata/strong.txt"), &strong).unwrap();
    assert_eq!(good.text.trim_end(), "Suite: x");
    let text = check(include_bytes!("testdata/sha1.txt"), &strong).unwrap_err();
    assert!(matches!(text, SignatureError::WeakHash(hash) if hash == "SHA1"));
    let key = check(include_bytes!("testdata/weak.txt"), &weak).unwrap_err();
    assert!(matches!(key, SignatureError::Untrusted { .. }), "{key:?}");
}

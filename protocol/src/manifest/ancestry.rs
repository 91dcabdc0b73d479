//! From a manifest back to one that is trusted: the one that a client has pinned, or version 0, which
//! every member of it signed. For a tenant that joins by an amendment, and for one that missed some.
//!
//! Each version on the way is asked for by its hash, which its successor names, and its successor is
//! verified by its rule. Two of them are held at a time.

use roundelay_crypto::digest::Digest;

use super::{Manifest, Pinned, SignatureError, SignedManifest};

/// Versions that a client goes back at most.
pub const ANCESTORS_MAX: u32 = 256;

/// Why a manifest does not come down from one that is trusted. The coordinator is at fault, or
/// whoever drafted a version, unless this says otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AncestryError {
    /// The manifest itself.
    #[error(transparent)]
    Newest(SignatureError),
    /// One before it.
    #[error("version {version} of the manifest, which this one follows, does not verify: {why}")]
    Ancestor {
        /// Which.
        version: u32,
        /// Why.
        why: SignatureError,
    },
    /// Another manifest than the one that was asked for.
    #[error("the coordinator sent another manifest than the one that was asked for")]
    NotAskedFor,
    /// It branched off before the one that this client has pinned, or is that one's ancestor.
    #[error("this manifest does not follow from version {pinned}, which this client has pinned")]
    NotFromPinned {
        /// The version that is pinned.
        pinned: u32,
    },
    /// Too many versions lie between.
    #[error(
        "{0} versions lie between this manifest and one that this client can trust, at most \
         {ANCESTORS_MAX} are followed; found a new federation with these members"
    )]
    TooMany(u32),
}

/// The way back from one manifest: while [`wanted`](Self::wanted) names one, it is to be
/// [taken](Self::take).
#[derive(Debug)]
pub struct Ancestry<'a> {
    newest: &'a SignedManifest,
    pinned: Option<&'a Pinned>,
    /// What the newest one amends.
    predecessor: Option<Manifest>,
    /// The last one that was taken, whose predecessor is wanted.
    last: Option<SignedManifest>,
    wanted: Option<Digest>,
}

impl<'a> Ancestry<'a> {
    /// Of `newest`, back to the one that is pinned, if one is. Signatures of `newest` may be
    /// missing; those that are there verify.
    pub fn of(
        newest: &'a SignedManifest,
        pinned: Option<&'a Pinned>,
    ) -> Result<Self, AncestryError> {
        newest.manifest.validate().map_err(|why| AncestryError::Newest(why.into()))?;
        let trusted = pinned.map_or(0, |pinned| pinned.manifest().version);
        let between = newest.manifest.version.saturating_sub(trusted);
        if between > ANCESTORS_MAX {
            return Err(AncestryError::TooMany(between));
        }
        let mut way = Self { newest, pinned, predecessor: None, last: None, wanted: None };
        way.wanted = way.before(newest)?;
        Ok(way)
    }

    /// The hash of the manifest to be taken next; none when a trusted one is reached.
    #[must_use]
    pub fn wanted(&self) -> Option<Digest> {
        self.wanted
    }

    /// Takes the manifest that is wanted.
    pub fn take(&mut self, signed: SignedManifest) -> Result<(), AncestryError> {
        if self.wanted != Some(signed.manifest.hash()) {
            return Err(AncestryError::NotAskedFor);
        }
        let child = self.last.take();
        self.follows(child.as_ref(), &signed.manifest)?;
        self.wanted = self.before(&signed)?;
        self.last = Some(signed);
        Ok(())
    }

    /// What the newest one amends, verified; none for version 0, or while one is wanted.
    #[must_use]
    pub fn predecessor(self) -> Option<Manifest> {
        self.predecessor.filter(|_| self.wanted.is_none())
    }

    /// The hash to go on with, if `signed` is neither version 0 nor follows from what is pinned.
    fn before(&mut self, signed: &SignedManifest) -> Result<Option<Digest>, AncestryError> {
        let child = self.predecessor.is_some().then_some(signed);
        if let Some(pinned) = self.pinned {
            if signed.manifest.predecessor == Some(pinned.hash()) {
                return self.follows(child, pinned.manifest()).map(|()| None);
            }
            let pinned = pinned.manifest().version;
            if signed.manifest.version <= pinned.saturating_add(1) {
                return Err(AncestryError::NotFromPinned { pinned });
            }
        } else if signed.manifest.version == 0 {
            return match child {
                Some(first) => first.verify(None).map_err(|why| ancestor(first, why)),
                None => signed.standing(None).map(drop).map_err(AncestryError::Newest),
            }
            .map(|()| None);
        }
        Ok(signed.manifest.predecessor)
    }

    /// Refuses a `child`, or the newest one, that does not amend `predecessor` by its rule.
    fn follows(
        &mut self,
        child: Option<&SignedManifest>,
        predecessor: &Manifest,
    ) -> Result<(), AncestryError> {
        if let Some(child) = child {
            return child.verify(Some(predecessor)).map_err(|why| ancestor(child, why));
        }
        self.newest.standing(Some(predecessor)).map_err(AncestryError::Newest)?;
        self.predecessor = Some(predecessor.clone());
        Ok(())
    }
}

fn ancestor(signed: &SignedManifest, why: SignatureError) -> AncestryError {
    AncestryError::Ancestor { version: signed.manifest.version, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{manifest, wire};
    use crate::manifest::OwnEntry;

    /// Versions 0 to `last` of a federation of three, each with all signatures.
    fn versions(last: u32) -> Vec<SignedManifest> {
        let mut all: Vec<SignedManifest> = Vec::new();
        for version in 0..=last {
            let before = all.last().map(|signed| signed.manifest.clone());
            let mut next = before.clone().unwrap_or_else(|| manifest(&[1, 1, 1]));
            next.version = version;
            next.predecessor = before.as_ref().map(Manifest::hash);
            next.task.rounds += 1;
            all.push(sign(next, before.as_ref()));
        }
        all
    }

    fn sign(manifest: Manifest, before: Option<&Manifest>) -> SignedManifest {
        let mut signed = SignedManifest::draft(manifest).unwrap();
        for place in 0..3_u8 {
            let tenant = signed.manifest.members[usize::from(place)].tenant.clone();
            let signature = signed.manifest.sign(&wire::key(100 + place));
            signed.add(before, &tenant, signature).unwrap();
        }
        signed
    }

    fn walk(
        newest: &SignedManifest,
        pinned: Option<&Pinned>,
        known: &[SignedManifest],
    ) -> Result<(Option<Manifest>, usize), AncestryError> {
        let mut way = Ancestry::of(newest, pinned)?;
        let mut taken = 0;
        while let Some(wanted) = way.wanted() {
            let found = known.iter().find(|signed| signed.manifest.hash() == wanted);
            way.take(found.expect("it is known").clone())?;
            taken += 1;
        }
        Ok((way.predecessor(), taken))
    }

    fn pinned(signed: &SignedManifest, before: Option<&SignedManifest>) -> Pinned {
        let member = &signed.manifest.members[0];
        let own = OwnEntry {
            tenant: member.tenant.clone(),
            tenant_key: member.tenant_key,
            identity: member.clients[0],
        };
        Pinned::new(signed.clone(), before.map(|before| &before.manifest), &own).unwrap()
    }

    #[test]
    fn who_pins_for_the_first_time_goes_back_to_version_0_and_others_to_what_they_pinned() {
        let all = versions(3);
        assert_eq!(walk(&all[0], None, &all), Ok((None, 0)));
        assert_eq!(walk(&all[3], None, &all), Ok((Some(all[2].manifest.clone()), 3)));
        let first = pinned(&all[0], None);
        assert_eq!(walk(&all[3], Some(&first), &all), Ok((Some(all[2].manifest.clone()), 2)));
        assert_eq!(walk(&all[1], Some(&first), &all), Ok((Some(all[0].manifest.clone()), 0)));
        let third = pinned(&all[2], Some(&all[1]));
        let older = walk(&all[1], Some(&third), &all);
        assert_eq!(older, Err(AncestryError::NotFromPinned { pinned: 2 }));
    }

    #[test]
    fn a_signature_that_is_missing_or_of_another_key_anywhere_on_the_way_is_refused() {
        let good = versions(3);
        for (version, place) in [(0, 1), (1, 2), (2, 0)] {
            let mut missing = good.clone();
            missing[version].signatures.remove(place);
            let error = walk(&good[3], None, &missing).unwrap_err().to_string();
            let words = format!("version {version} of the manifest");
            assert!(error.contains(&words) && error.contains("2 of 3 signatures"), "{error}");
            let mut forged = good.clone();
            forged[version].signatures[place].1 = forged[version].manifest.sign(&wire::key(9));
            let error = walk(&good[3], None, &forged).unwrap_err().to_string();
            assert!(error.contains(&words) && error.contains("does not verify under"), "{error}");
        }
        let mut forged = good[3].clone();
        forged.signatures[1].1 = forged.manifest.sign(&wire::key(9));
        let error = walk(&forged, None, &good).unwrap_err();
        assert!(matches!(error, AncestryError::Newest(SignatureError::DoesNotVerify(_))));
    }

    #[test]
    fn a_branch_another_manifest_and_a_chain_without_end_are_refused() {
        let all = versions(3);
        let mut other = all[0].manifest.clone();
        other.task.rounds += 7;
        let other = pinned(&sign(other, None), None);
        let branch = walk(&all[3], Some(&other), &all);
        assert_eq!(branch, Err(AncestryError::NotFromPinned { pinned: 0 }));
        let mut way = Ancestry::of(&all[3], None).unwrap();
        assert_eq!(way.take(all[1].clone()), Err(AncestryError::NotAskedFor));
        let mut far = all[3].clone();
        far.manifest.version = ANCESTORS_MAX + 1;
        far.signatures.clear();
        let error = Ancestry::of(&far, None).unwrap_err();
        assert_eq!(error, AncestryError::TooMany(ANCESTORS_MAX + 1));
    }
}

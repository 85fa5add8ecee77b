//! More time for a lease: asked by the tenant, granted by the host where the terms of the lease promise it.

use super::run::between;
use super::{Lease, Refusal, State, deal};
use crate::{Identity, Step};
use model::envelope::CLOCK_SKEW;
use model::message::Response;
use model::record::Record;
use model::{Cosigned, Id, PeerKey, Renewal, RenewalTerms, Side, Signed, Span, Timestamp, Unverified, plain};

type LeaseId = Id<model::Lease>;

/// As tenant: asks for more time.
///
/// # Errors
/// When the terms do not allow it, or one waits already.
pub fn ask(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    id: LeaseId,
    more: Span,
) -> Result<Step, crate::Refusal> {
    let lease = state.get(id).ok_or(Refusal::UnknownLease(id))?;
    if lease.side != Side::Tenant {
        return Err(Refusal::WrongSide(Side::Tenant).into());
    }
    may_renew(lease, more)?;
    if lease.renewing.is_some() {
        return Err(Refusal::RenewalPending.into());
    }
    let number = u32::try_from(lease.renewals.len()).unwrap_or(u32::MAX).saturating_add(1);
    let (host, tenant) = (lease.contract.host.device, lease.contract.tenant.device);
    let renewal = Renewal { lease: id, number, host, tenant, more, issued: now, expires: now + CLOCK_SKEW };
    Ok(Step::of(vec![Record::RenewalAsked { renewal: identity.key.sign(&renewal)? }]))
}

/// As host: grants more time where the terms of the lease promise it, or lets the owner decide where they say so.
///
/// # Errors
/// Why not.
pub fn grant(
    identity: &Identity,
    state: &State,
    now: Timestamp,
    from: PeerKey,
    renewal: &Unverified<Renewal>,
) -> Result<Step, crate::Refusal> {
    let renewal = renewal.verify_past()?;
    let lease = between(state, from, renewal.lease, Side::Host)?;
    if let Some(known) = lease.renewals.iter().find(|known| known.id() == renewal.id()) {
        return Ok(Step::answer(Response::Renewal(known.second_signed().unverified())));
    }
    let renewal = renewal.unverified().verify(now)?;
    if renewal.signer() != lease.contract.tenant.device || renewal.host != lease.contract.host.device {
        return Err(Refusal::NotTheSender.into());
    }
    if usize::try_from(renewal.number).is_ok_and(|number| number != lease.renewals.len() + 1) {
        return Err(Refusal::Differs("number").into());
    }
    may_renew(lease, renewal.more)?;
    if lease.contract.rules.renewal == RenewalTerms::Ask {
        return waits(lease, renewal);
    }
    let renewal = identity.key.countersign(&renewal)?;
    let answer = Response::Renewal(renewal.second_signed().unverified());
    Ok(Step::and_answer(vec![Record::Renewed { renewal }], answer))
}

/// The tenant asks again until the owner has answered.
fn waits(lease: &Lease, renewal: Signed<Renewal>) -> Result<Step, crate::Refusal> {
    if lease.denied == Some(renewal.id()) {
        return Err(Refusal::OwnerDenied.into());
    }
    match &lease.renewing {
        Some(known) if known.id() == renewal.id() => Err(Refusal::NotYetAnswered.into()),
        Some(_) => Err(Refusal::RenewalPending.into()),
        None => {
            let denial = Response::Denied(crate::Refusal::from(Refusal::NotYetAnswered).denial());
            Ok(Step::and_answer(vec![Record::RenewalAsked { renewal }], denial))
        }
    }
}

/// As host: the owner answers a tenant who waits for more time. The tenant hears of it when it asks again.
///
/// # Errors
/// When nobody waits, or the lease has ended meanwhile.
pub fn owner_answers(
    identity: &Identity,
    state: &State,
    id: LeaseId,
    grant: bool,
) -> Result<Vec<Record>, crate::Refusal> {
    let lease = state.get(id).filter(|lease| lease.side == Side::Host).ok_or(Refusal::UnknownLease(id))?;
    let renewal = lease.renewing.as_ref().ok_or(Refusal::NothingToAnswer)?;
    if !grant {
        let refusal = Refusal::OwnerDenied;
        let (code, sentence) = (refusal.code().to_owned(), refusal.to_string());
        return Ok(vec![Record::RenewalRefused { lease: id, renewal: renewal.id(), code, sentence }]);
    }
    may_renew(lease, renewal.more)?;
    Ok(vec![Record::Renewed { renewal: identity.key.countersign(renewal)? }])
}

fn may_renew(lease: &Lease, more: Span) -> Result<(), Refusal> {
    if !lease.may_go_on() {
        return Err(Refusal::WrongPhase { phase: lease.phase });
    }
    lease.contract.rate.over(lease.term + more)?;
    match lease.contract.rules.renewal {
        RenewalTerms::Automatic { longest } if lease.term + more <= longest => Ok(()),
        RenewalTerms::Automatic { longest } => {
            Err(Refusal::RenewalTooLong { asked: lease.term + more, longest })
        }
        RenewalTerms::Ask => Ok(()),
        RenewalTerms::Never => Err(Refusal::NoRenewal),
    }
}

/// As tenant: the host has signed the renewal, or will not. What it has signed once it never denies after, so that a
/// denial makes room for another.
///
/// # Errors
/// When its signature proves nothing.
pub fn answered(
    state: &State,
    id: LeaseId,
    renewal: Id<Renewal>,
    response: Response,
) -> Result<Step, crate::Refusal> {
    let ours = state.get(id).and_then(|lease| lease.renewing.as_ref()).filter(|ours| ours.id() == renewal);
    match (ours, response) {
        (Some(ours), Response::Renewal(theirs)) => {
            let renewal = Cosigned::join(ours.clone(), theirs.verify_past()?)?;
            Ok(Step::of(vec![Record::Renewed { renewal }]))
        }
        (Some(_), Response::Denied(denial)) if !deal::is_for_now(&denial) => {
            let (code, sentence) = (plain(&denial.code, 64), plain(&denial.sentence, 400));
            Ok(Step::of(vec![Record::RenewalRefused { lease: id, renewal, code, sentence }]))
        }
        (Some(_) | None, _) => Ok(Step::default()),
    }
}

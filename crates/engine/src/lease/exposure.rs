//! What each side can lose by the other, stated before a lease starts.

use super::State;
use model::{Amount, Arithmetic, Currency, PersonId, Rate, Side, Span, Terms};

/// The most that each side can lose by the other, whatever the other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The host: what the tenant has used and never pays.
    pub host: Amount,
    /// The tenant: what was paid ahead. Nothing is, so far: a tenant pays for what it has signed.
    pub tenant: Amount,
}

/// How long the host's hand may be late: it looks at least so often.
const LATE: Span = Span::minutes(1);

/// What each side can lose under these terms.
///
/// The host gives credit up to U, and then works on unsigned for at most two ticks, the time to sign and a minute; never
/// more than the whole term.
///
/// # Errors
/// When it cannot be counted.
pub fn exposure(terms: &Terms, rate: Rate, term: Span) -> Result<Exposure, Arithmetic> {
    let whole = rate.over(term)?;
    let unsigned = rate.over(terms.tick + terms.tick + terms.sign_within + LATE)?;
    let credit = Amount::new(terms.credit, whole.currency);
    let host = credit.plus(unsigned).ok().filter(|sum| sum.micros < whole.micros).unwrap_or(whole);
    Ok(Exposure { host, tenant: Amount::zero(whole.currency) })
}

/// As host: what a person has signed for and not paid, in all open leases together. The credit of a lease is measured by
/// it, so that many small leases give no more credit than a large one.
pub fn open_debt(state: &State, person: PersonId, currency: Currency) -> i64 {
    let open = state.all().filter(|lease| {
        lease.side == Side::Host && !lease.phase.is_ended() && lease.contract.tenant.person == person
    });
    let amounts = open.filter_map(|lease| lease.receipt.as_ref()).map(|receipt| receipt.amount);
    amounts
        .filter(|amount| amount.currency == currency)
        .fold(0, |sum: i64, amount| sum.saturating_add(amount.micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::RenewalTerms;

    const TERMS: Terms = Terms {
        longest: Span::hours(12),
        tick: Span::minutes(1),
        sign_within: Span::minutes(1),
        grace: Span::minutes(5),
        credit: 50_000,
        fetch_within: Span::minutes(10),
        start_within: Span::minutes(1),
        renewal: RenewalTerms::Never,
        network_rate: 0,
        io_rate: 0,
        notice: None,
    };

    #[test]
    fn a_host_can_lose_the_credit_and_what_is_unsigned() {
        let rate = Rate::hourly("0.6 EUR".parse().unwrap());
        let most = exposure(&TERMS, rate, Span::hours(10)).unwrap();
        // 0.05 of credit, and four minutes at a cent each.
        assert_eq!((most.host, most.tenant), ("0.09 EUR".parse().unwrap(), "0 EUR".parse().unwrap()));
    }

    #[test]
    fn nobody_loses_more_than_the_whole_term_costs() {
        let rate = Rate::hourly("0.6 EUR".parse().unwrap());
        assert_eq!(exposure(&TERMS, rate, Span::minutes(3)).unwrap().host, "0.03 EUR".parse().unwrap());
        let most = exposure(&Terms { credit: i64::MAX, ..TERMS }, rate, Span::hours(1)).unwrap();
        assert_eq!(most.host, "0.6 EUR".parse().unwrap());
    }
}

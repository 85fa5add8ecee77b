//! Secrets of leases: which of them a tenant's node is still to know.

use super::{Outcome, State};
use model::{Nonce, Side, Workload};
use std::collections::BTreeSet;

impl State {
    /// As tenant: the bundles of secrets that guests may still need: of leases that are not over, and of asks that may lead to one.
    pub fn secrets(&self) -> BTreeSet<Nonce> {
        let leases = self.all().filter(|lease| lease.side == Side::Tenant && !lease.phase.is_ended());
        let asks = self.asks().filter(|asking| match &asking.outcome {
            Outcome::Waiting | Outcome::Quoted { .. } | Outcome::Accepted { .. } => true,
            // The lease has it now.
            Outcome::Agreed(_) | Outcome::Refused { .. } => false,
        });
        let workloads =
            leases.map(|lease| &lease.contract.workload).chain(asks.map(|asking| &asking.ask.terms.workload));
        let bundle = |workload: &Workload| workload.secrets.as_ref().map(|secrets| secrets.bundle);
        workloads.filter_map(bundle).collect()
    }
}

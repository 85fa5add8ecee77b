//! Devices of leases: each is one lease's at a time.

use super::State;
use super::refusal::Refusal;
use model::Share;
use std::collections::BTreeSet;

impl State {
    /// As host: the devices that quotes hold and leases have.
    pub fn devices_in_use(&self) -> BTreeSet<&str> {
        let used = self.hosted().flat_map(|lease| &lease.contract.workload.devices);
        let held = self.quotes().flat_map(|held| &held.ask.terms.workload.devices);
        used.chain(held).map(String::as_str).collect()
    }

    /// As host: refuses a guest a device that is not lent, or that another has.
    pub(super) fn may_have(&self, share: &Share, wanted: &[String]) -> Result<(), Refusal> {
        let used = self.devices_in_use();
        for name in wanted {
            if !share.devices.iter().any(|lent| lent.name == *name) {
                return Err(Refusal::NoDevice { device: name.clone() });
            }
            if used.contains(name.as_str()) {
                return Err(Refusal::DeviceInUse { device: name.clone() });
            }
        }
        Ok(())
    }
}

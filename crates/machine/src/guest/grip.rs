//! What a guest is held by: control groups of our own, or the container of an engine.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cgroup::{Group, Hierarchy};
use super::engine::{Container, Engine};
use super::error::LimitError;
use super::record::{Orders, Usage};
use super::spec::GuestId;

/// Where guests are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HeldBy {
    /// In groups that we divide.
    Groups(Hierarchy),
    /// Where this engine has its containers.
    Engine(Engine),
}

impl HeldBy {
    /// What holds this guest; it need not be there.
    pub fn grip(&self, id: &GuestId) -> Grip {
        match self {
            HeldBy::Groups(hierarchy) => Grip::Groups(hierarchy.group(id)),
            HeldBy::Engine(engine) => Grip::Container(Box::new(engine.container(id))),
        }
    }
}

/// What holds one guest to its limits, measures it, freezes it, and finds all of it.
#[derive(Clone, Debug)]
pub enum Grip {
    Groups(Group),
    Container(Box<Container>),
}

impl Grip {
    /// Makes what can be made before there is a process. A container's limits are set with it.
    pub fn create(&self, orders: &Orders) -> Result<(), LimitError> {
        let Grip::Groups(group) = self else { return Ok(()) };
        group.create(&orders.spec.limits, orders.writable, orders.runtime.keep())?;
        if orders.defences.devices { group.allow_devices(&orders.spec.devices) } else { Ok(()) }
    }

    /// What cannot be read counts nought.
    pub fn usage(&self) -> Usage {
        match self {
            Grip::Groups(group) => group.usage(),
            Grip::Container(container) => container.usage(),
        }
    }

    /// Freezes or thaws all processes, and waits until it is so: of groups, at most `within`.
    pub fn set_frozen(&self, frozen: bool, within: Duration) -> io::Result<()> {
        match self {
            Grip::Groups(group) => group.set_frozen(frozen, within),
            Grip::Container(container) => container.set_frozen(frozen),
        }
    }

    /// Gives it another share of the processor.
    pub fn set_cpu(&self, millis: u32) -> io::Result<()> {
        match self {
            Grip::Groups(group) => group.set_cpu(millis),
            Grip::Container(container) => container.set_cpu(millis),
        }
    }

    /// Kills every process.
    pub fn kill(&self) -> io::Result<()> {
        match self {
            Grip::Groups(group) => group.kill(),
            Grip::Container(container) => {
                // What it has used is known for as long as it is there.
                container.usage();
                container.remove()
            }
        }
    }

    /// Removes it. Groups that are not empty stay.
    pub fn remove(&self) -> io::Result<()> {
        match self {
            Grip::Groups(group) => group.remove(),
            Grip::Container(container) => container.remove(),
        }
    }

    /// Kills what is left, and waits until it is gone.
    pub fn clear(&self, within: Duration) -> io::Result<()> {
        match self {
            Grip::Groups(group) => group.clear(within),
            Grip::Container(container) => container.remove(),
        }
    }
}

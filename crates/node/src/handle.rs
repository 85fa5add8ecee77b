//! The node from outside: ask it, look at it, listen to it.

use crate::execute::Hands;
use crate::forward::{Forward, Forwards, Port, Reserved};
use crate::health::check_of;
use crate::logs::{LogReader, LogWish};
use crate::run::Command;
use crate::serve::guest;
use crate::update::{self, Updates};
use crate::{Config, Core, Error, Event, Fault};
use engine::input::{Owner, Tenant};
use engine::{Identity, Input, Reply, owner};
use machine::image::Images;
use model::message::StreamHead;
use model::{EndReason, Id, Lease, Phase, Share, Side, Span, Speed};
use net::{Net, NetError, PeerSeen};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{broadcast, oneshot};

/// A running node. Clones speak to the same one.
#[derive(Clone)]
pub struct NodeHandle(Arc<Shared>);

pub(crate) struct Shared {
    pub config: Config,
    pub identity: Identity,
    pub hands: Hands,
    pub events: broadcast::Sender<Event>,
    pub forwards: Forwards,
    pub name: Name,
    pub updates: Arc<Updates>,
}

/// What the person calls themselves: it can be changed while the node runs.
#[derive(Clone)]
pub(crate) struct Name(Arc<RwLock<String>>);

impl Name {
    pub fn new(name: String) -> Name {
        Name(Arc::new(RwLock::new(name)))
    }

    pub fn get(&self) -> String {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl NodeHandle {
    pub(crate) fn new(shared: Shared) -> NodeHandle {
        let handle = NodeHandle(Arc::new(shared));
        tokio::spawn(close_ports(Arc::downgrade(&handle.0), handle.events()));
        tokio::spawn(update::watch(Arc::downgrade(&handle.0), handle.0.updates.clone()));
        handle
    }

    pub(crate) fn of(shared: Arc<Shared>) -> NodeHandle {
        NodeHandle(shared)
    }

    pub(crate) fn updates(&self) -> &Updates {
        &self.0.updates
    }

    /// Something is new of a release. Nobody may listen.
    pub(crate) fn tell_update(&self) {
        let _ = self.0.events.send(Event::Update);
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// How it was started.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What runs guests, if there is anything that can.
    pub fn runtime(&self) -> Option<&machine::guest::Runtime> {
        self.0.hands.guests.runtime()
    }

    /// What the person calls themselves.
    pub fn name(&self) -> String {
        self.0.name.get()
    }

    pub(crate) fn rename(&self, name: String) {
        *self.0.name.0.write().unwrap_or_else(PoisonError::into_inner) = name;
    }

    pub(crate) fn hands(&self) -> &Hands {
        &self.0.hands
    }

    /// The images of this computer.
    pub fn images(&self) -> &Images {
        &self.0.hands.images
    }

    /// The network.
    pub fn net(&self) -> &Net {
        &self.0.hands.net
    }

    /// What happens, as it happens. A listener that falls behind loses the oldest, and can look at state.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    /// Looks at what is true. Between two looks it may change.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let look = Command::Look(Box::new(move |core| {
            // Who asked may be gone.
            let _ = answer.send(look(core));
        }));
        self.command(look).await?;
        answered.await.map_err(|_| Fault::Stopped)
    }

    /// Has something decided. When this returns, it is written down.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn decide(&self, input: Input) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Decide(Box::new(input), answer)).await?;
        answered.await.map_err(|_| Fault::Stopped)?
    }

    pub(crate) async fn command(&self, command: Command) -> Result<(), Fault> {
        self.0.hands.commands.send(command).await.map_err(|_| Fault::Stopped)
    }

    /// Keeps the measured speed of this machine.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub async fn measured(&self, speed: Speed) -> Result<(), Error> {
        self.decide(Input::Owner(Owner::Measured(speed))).await?;
        self.command(Command::Publish).await?;
        Ok(())
    }

    /// Lends this, or nothing. Leases that run go on by their own terms.
    ///
    /// # Errors
    /// When the machine was not measured, or a value is out of range.
    pub async fn share(&self, share: Option<Share>) -> Result<(), Error> {
        self.decide(Input::Owner(Owner::Share(share))).await?;
        self.command(Command::Publish).await?;
        Ok(())
    }

    /// Has the owner come first: a policy, a pause, the end of a pause.
    ///
    /// # Errors
    /// When a value is out of range.
    pub async fn first(&self, command: owner::Command) -> Result<(), Error> {
        let told = matches!(command, owner::Command::Rule(_));
        self.decide(Input::Owner(Owner::First(command))).await?;
        if told {
            // An offer says what its owner keeps for themselves.
            self.command(Command::Publish).await?;
        }
        Ok(())
    }

    /// Ends a lease: as its tenant, or as the owner of the machine it runs on.
    ///
    /// # Errors
    /// When there is no such live lease.
    pub async fn stop(&self, lease: Id<Lease>) -> Result<(), Error> {
        let side = self.side(lease).await?;
        let input = match side {
            Side::Tenant => Input::Tenant(Tenant::Stop(lease)),
            Side::Host => Input::Owner(Owner::Stop(lease)),
        };
        self.decide(input).await.map(|_| ())
    }

    /// Asks for more time.
    ///
    /// # Errors
    /// When the terms do not allow it.
    pub async fn renew(&self, lease: Id<Lease>, more: Span) -> Result<(), Error> {
        self.decide(Input::Tenant(Tenant::Renew { lease, more })).await.map(|_| ())
    }

    /// As host: answers a tenant who waits for more time.
    ///
    /// # Errors
    /// When nobody waits, or the lease has ended meanwhile.
    pub async fn answer_renewal(&self, lease: Id<Lease>, grant: bool) -> Result<(), Error> {
        self.decide(Input::Owner(Owner::Answer { lease, grant })).await.map(|_| ())
    }

    /// Judges the other party of an ended lease: marks from 1 to 5 for kept, quality, manners.
    ///
    /// # Errors
    /// When there is nothing to judge by, or it was judged already.
    pub async fn rate(&self, lease: Id<Lease>, marks: [u8; 3], text: String) -> Result<(), Error> {
        self.decide(Input::Tenant(Tenant::Rate { lease, marks, text })).await.map(|_| ())
    }

    /// Whether it is known how the guest of a lease that has ended did: by the word of its host, which may still be on its way.
    ///
    /// # Errors
    /// When there is no such lease.
    pub async fn is_told_how_it_ended(&self, id: Id<Lease>) -> Result<bool, Error> {
        self.lease(id, |lease| {
            let is_known = lease.exit_code().is_some() || lease.ends.contains_key(&Side::Host);
            is_known || lease.started.is_none() || lease.phase == Phase::Ended(EndReason::HostGone)
        })
        .await
    }

    /// Whether it is looked after whether the guest of a lease is well, as far as can be told here.
    ///
    /// # Errors
    /// When there is no such lease.
    pub async fn is_checked(&self, id: Id<Lease>) -> Result<bool, Error> {
        if self.look(move |core| core.health(id).is_some()).await? {
            return Ok(true);
        }
        let workload = self.lease(id, |lease| lease.contract.workload.clone()).await?;
        let images = self.images().clone();
        let check = tokio::task::spawn_blocking(move || check_of(&images, &workload)).await;
        // Its host has the image, whatever is here.
        Ok(check.map_err(|_| Error::Cancelled)?.map_or(true, |check| check.is_some()))
    }

    /// The lease whose id starts with these digits.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub async fn find_lease(&self, digits: &str) -> Result<Id<Lease>, Error> {
        let wanted = digits.to_ascii_lowercase();
        let found = self.look(move |core| {
            let leases = core.engine().state().lease.all().map(engine::lease::Lease::id);
            leases
                .filter(|id| !wanted.is_empty() && id.to_string().starts_with(&wanted))
                .take(2)
                .collect::<Vec<_>>()
        });
        match found.await?.as_slice() {
            [one] => Ok(*one),
            _ => Err(Error::UnknownLease(digits.to_owned())),
        }
    }

    /// A guest's output.
    ///
    /// # Errors
    /// When the guest has not started yet, or its host cannot be reached.
    pub async fn logs(&self, id: Id<Lease>, wish: LogWish) -> Result<LogReader, Error> {
        let (side, peer, phase, started) =
            self.lease(id, |lease| (lease.side, lease.peer, lease.phase, lease.started)).await?;
        let LogWish { from, follow, view } = wish;
        match side {
            Side::Host if started.is_some() => Ok(self.hands().log(guest(id), wish)),
            // The word that a short guest began may be overtaken by the word that it ended: its host knows better.
            Side::Tenant if started.is_some() || phase.is_ended() => {
                let head = StreamHead::Logs { lease: id, from, follow, view };
                match self.net().open(peer, head).await {
                    Ok(stream) => Ok(LogReader::Remote(Box::new(stream))),
                    Err(NetError::Refused { .. }) if started.is_none() => Ok(LogReader::Nothing),
                    Err(error) => Err(error.into()),
                }
            }
            Side::Host if phase.is_ended() => Ok(LogReader::Nothing),
            Side::Host | Side::Tenant => Err(Error::NotRunning { lease: id, phase: phase.to_string() }),
        }
    }

    /// Lets a port of this computer lead into a guest; nought takes a free one.
    ///
    /// # Errors
    /// When the port is taken, or the lease is over.
    pub async fn forward(&self, id: Id<Lease>, port: Port) -> Result<Forward, Error> {
        let (phase, peer, named) = self
            .lease(id, move |lease| (lease.phase, lease.peer, port.is_named(&lease.contract.workload)))
            .await?;
        if !named || matches!(phase, Phase::Closing(_) | Phase::Ended(_)) {
            return Err(Error::NotRunning {
                lease: id,
                phase: if named { phase.to_string() } else { format!("agreed without {port}") },
            });
        }
        let port = Reserved::take(port).await?;
        Ok(self.0.forwards.open_port(&self.0.hands, id, peer, port))
    }

    pub(crate) async fn open_ports(&self, id: Id<Lease>, ports: Vec<Reserved>) -> Result<(), Error> {
        let peer = self.lease(id, |lease| lease.peer).await?;
        for port in ports {
            self.0.forwards.open_port(&self.0.hands, id, peer, port);
        }
        Ok(())
    }

    /// Opens the ports that were open when the node stopped, as far as they can be.
    pub(crate) async fn restore_forwards(&self) {
        for kept in self.0.forwards.kept() {
            if let Err(error) = self.forward(kept.lease, kept.port).await {
                tracing::info!(port = kept.port.local, %error, "a port was not opened again");
            }
        }
    }

    /// Ports of this computer that lead into guests.
    pub fn forwards(&self) -> Vec<Forward> {
        self.0.forwards.list()
    }

    /// Peers to which there is a connection.
    pub async fn peers(&self) -> Vec<PeerSeen> {
        self.net().peers().await
    }

    /// Stops the node. Guests go on under their supervisors until the next one takes charge, or their grace is over.
    pub async fn shut_down(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.command(Command::Stop(stopped)).await.is_ok() {
            // The loop may have ended by itself.
            let _ = wait.await;
        }
    }

    async fn side(&self, id: Id<Lease>) -> Result<Side, Error> {
        self.lease(id, |lease| lease.side).await
    }

    pub(crate) async fn lease<T: Send + 'static>(
        &self,
        id: Id<Lease>,
        read: impl FnOnce(&engine::lease::Lease) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let found = self.look(move |core| core.engine().state().lease.get(id).map(read)).await?;
        found.ok_or_else(|| Error::UnknownLease(id.to_string()))
    }
}

/// Closes the ports of leases as they end.
async fn close_ports(shared: std::sync::Weak<Shared>, mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(Event::Lease { lease, phase, .. }) if phase.is_ended() => {
                let Some(shared) = shared.upgrade() else { return };
                shared.forwards.close(|id| id == lease);
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let Some(shared) = shared.upgrade() else { return };
                let handle = NodeHandle(shared);
                let live = handle.look(|core| {
                    core.engine()
                        .state()
                        .lease
                        .all()
                        .filter(|lease| !lease.phase.is_ended())
                        .map(engine::lease::Lease::id)
                        .collect::<Vec<_>>()
                });
                if let Ok(live) = live.await {
                    handle.0.forwards.close(|id| !live.contains(&id));
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

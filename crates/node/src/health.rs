//! Whether guests are well. As host: checks are run in them, each as a program beside the guest's own, and their tenants are told.
//! As tenant: what the host says is kept in mind for as long as the lease goes on.
//!
//! None of it is written down: whoever starts again checks again.

use crate::clock::Clock;
use crate::execute::Hands;
use crate::fetch::digest;
use crate::run::Command;
use crate::serve::guest;
use engine::health::{Check, Patient};
use machine::guest::{Exec, ExecRefusal, ExecSpec, GuestError, GuestId, GuestSeen, GuestState, Guests, Said};
use machine::image::{ImageError, Images};
use model::health::Checked;
use model::{Id, Lease, Span, Timestamp, Workload};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How soon a guest that cannot be checked now is looked at again, at the latest.
const AGAIN: Span = Span::seconds(5);

/// The check of a guest: its tenant's, or its image's; none where nothing is checked.
///
/// # Errors
/// When the image is not here.
pub fn check_of(images: &Images, workload: &Workload) -> Result<Option<Check>, ImageError> {
    let image = images.inspect(&digest(&workload.image))?.config.health;
    Ok(Check::of(workload.options.health.as_ref(), image.as_ref()))
}

/// As host: checks a guest for as long as it is let, and says how it is.
pub async fn attend(hands: Hands, clock: Clock, lease: Id<Lease>, workload: Workload, began: Timestamp) {
    let images = hands.images.clone();
    let check = match tokio::task::spawn_blocking(move || check_of(&images, &workload)).await {
        Ok(Ok(Some(check))) => check,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(error)) => {
            return tracing::warn!(lease = %lease.short(), %error, "how to check the guest is not known");
        }
    };
    let mut attending = Attending {
        patient: Patient::new(check, began, clock.now()),
        hands,
        clock,
        lease,
        ended: None,
        restarts: None,
    };
    attending.tell().await;
    let commands = attending.hands.commands.clone();
    let attend = async {
        loop {
            let next = attending.patient.next(attending.ended);
            sleep(attending.clock.until(next)).await;
            attending.turn().await;
        }
    };
    tokio::select! {
        () = attend => {}
        // The node stops.
        () = commands.closed() => {}
    }
}

/// One guest and its check.
struct Attending {
    hands: Hands,
    clock: Clock,
    lease: Id<Lease>,
    patient: Patient,
    /// When the last check ended.
    ended: Option<Timestamp>,
    /// How often its program was begun again, as far as is known.
    restarts: Option<u32>,
}

impl Attending {
    async fn turn(&mut self) {
        let id = guest(self.lease);
        let Some(before) = running(&self.hands.guests, id).await else { return self.again().await };
        if self.restarts.replace(before.usage.restarts).is_some_and(|known| known != before.usage.restarts) {
            // Another run of the program is another patient.
            let (check, now) = (self.patient.check().clone(), self.clock.now());
            self.patient = Patient::new(check, now, now);
            self.ended = None;
            return self.tell().await;
        }
        let at = self.clock.now();
        let Some((code, printed)) = run(&self.hands.guests, id, self.patient.check()).await else {
            return self.again().await;
        };
        // Whoever stood still meanwhile could not answer in time, and is not unwell for that.
        let after = running(&self.hands.guests, id).await;
        if code != Some(0) && after.is_none_or(|after| after.usage.frozen_ms != before.usage.frozen_ms) {
            return self.again().await;
        }
        let now = self.clock.now();
        self.ended = Some(now);
        self.patient.checked(Checked { at, code, output: Checked::output(&printed) }, now);
        self.tell().await;
    }

    /// Nothing can be said now: soon again.
    async fn again(&self) {
        sleep(AGAIN.min(self.patient.check().interval).into()).await;
    }

    async fn tell(&self) {
        // The loop is gone only when the node stops, and then so are we.
        let _ = self.hands.commands.send(Command::Health(self.lease, self.patient.health().clone())).await;
    }
}

/// A guest as it is, if its program runs at this moment.
async fn running(guests: &Guests, id: GuestId) -> Option<GuestSeen> {
    guests.look(id).await.ok().filter(|seen| seen.state == GuestState::Running)
}

/// Runs a check. Its exit code, or none if it took too long or could not be begun, and what it printed; nothing where that says
/// nothing of the guest.
async fn run(guests: &Guests, id: GuestId, check: &Check) -> Option<(Option<i32>, Vec<u8>)> {
    let spec =
        ExecSpec { args: check.command.clone(), env: Vec::new(), cwd: None, user: None, terminal: None };
    let mut printed = Vec::new();
    let within: Duration = check.within.into();
    let ended = timeout(within, async {
        let exec = guests.exec(id, &spec).await?;
        Ok::<_, GuestError>(listen(exec, &mut printed).await)
    });
    match ended.await {
        Ok(Ok(code)) => code.map(|code| (Some(code), printed)),
        // Such as one that the image does not have.
        Ok(Err(GuestError::Exec(ExecRefusal::Start(error)))) => Some((None, error.to_string().into_bytes())),
        Ok(Err(error)) => {
            tracing::debug!(guest = %id, %error, "a guest was not checked");
            None
        }
        Err(_) => {
            let sentence = format!("the check took longer than {}", check.within);
            Some((None, [sentence.as_bytes(), b"\n", &printed].concat()))
        }
    }
}

/// What a check prints, the first of it, and its exit code; none when the guest ends under it.
async fn listen(mut exec: Exec, printed: &mut Vec<u8>) -> Option<i32> {
    // It is not spoken to.
    let _ = exec.input.close().await;
    loop {
        match exec.output.next().await.ok()? {
            Said::Out(piece) | Said::Err(piece) => {
                let room = Checked::MOST_OUTPUT.saturating_sub(printed.len());
                printed.extend(piece.iter().take(room));
            }
            Said::Ended(code) => return Some(code),
        }
    }
}

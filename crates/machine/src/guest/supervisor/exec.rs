//! Other programs beside the guest's own, for those who ask: each belongs to a connection, and ends with it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, fchmod, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};

use super::start::output_pipe;
use super::{Phase, Supervisor};
use crate::guest::error::{ExecRefusal, StartError};
use crate::guest::grip::Grip;
use crate::guest::log::Stream;
use crate::guest::record::Usage;
use crate::guest::wire::{self, Order, Reply, Word};

/// Programs and transfers beside the guest's own at once: each takes a process of the guest's and some of its memory.
const MOST_TASKS: usize = 16;

/// What goes on beside the guest's program.
#[derive(Default)]
pub(super) struct Tasks {
    going: BTreeSet<u32>,
    last: u32,
}

/// What a client has begun.
pub(super) struct Task {
    number: u32,
    /// Our ends of its input and outputs, until it runs and they are handed over.
    ours: Vec<OwnedFd>,
}

impl Supervisor<'_> {
    /// Tells the first process, if it has room to hear.
    pub(super) fn order(&self, order: Order) -> io::Result<()> {
        wire::send(self.warden.as_fd(), &order, None)
    }

    /// Has a program or a transfer begun for a client; the answer comes when it runs.
    pub(super) fn begin_task(
        &mut self,
        client: usize,
        terminal: bool,
        order: fn(u32) -> Order,
        file: Option<OwnedFd>,
    ) -> Result<(), ExecRefusal> {
        if !matches!(self.phase, Phase::Running) {
            return Err(ExecRefusal::NotRunning);
        }
        if self.hold.since.is_some() {
            return Err(ExecRefusal::Frozen);
        }
        if self.tasks.going.len() >= MOST_TASKS {
            return Err(ExecRefusal::TooMany { most: MOST_TASKS });
        }
        let spec = file.filter(|_| self.clients[client].task.is_none());
        let spec = spec.ok_or_else(|| ExecRefusal::Unreadable("nothing says what to run".to_owned()))?;
        let (ours, theirs) = ends(terminal).map_err(StartError::sandbox("make pipes for a program"))?;
        let number = self.tasks.last.wrapping_add(1);
        let files: Vec<BorrowedFd<'_>> = [&spec].into_iter().chain(&theirs).map(AsFd::as_fd).collect();
        wire::send_with(self.warden.as_fd(), &order(number), &files)
            .map_err(StartError::sandbox("speak to the guest's first process"))?;
        self.tasks.last = number;
        self.tasks.going.insert(number);
        self.clients[client].task = Some(Task { number, ours });
        Ok(())
    }

    /// What the first process says once the guest runs.
    pub(super) fn hear_warden(&mut self) {
        // When it is gone, its end is about to be seen.
        let Ok(Some((word, files))) = wire::receive_with::<Word>(self.warden.as_fd()) else { return };
        match word {
            Word::Began(number) => self.task_began(number, files),
            Word::Refused(number, why) => self.task_over(number, &Reply::Refused(why)),
            Word::Ended(number, code) => self.task_over(number, &Reply::Ended(code)),
            Word::Terminal => files.into_iter().for_each(|file| drop(self.take_terminal(file))),
            Word::Again(restarts) => self.restarts = restarts,
            Word::Used(used) => self.note(used),
            Word::NotStarted(why) => self.phase = Phase::Failed(why),
        }
    }

    /// What the first process said and was not heard: it has ended.
    pub(super) fn hear_last_words(&mut self) {
        while let Ok(Some((word, _))) = wire::receive_with::<Word>(self.warden.as_fd()) {
            match word {
                Word::Used(used) => self.note(used),
                Word::Again(restarts) => self.restarts = restarts,
                Word::NotStarted(why) => self.phase = Phase::Failed(why),
                Word::Began(_) | Word::Refused(..) | Word::Ended(..) | Word::Terminal => {}
            }
        }
    }

    fn note(&self, used: Usage) {
        match self.grip {
            Grip::Container(container) => container.note(used),
            Grip::Groups(_) => {}
        }
    }

    /// What the guest prints on its terminal is its output.
    fn take_terminal(&mut self, terminal: OwnedFd) -> io::Result<()> {
        fcntl_setfl(&terminal, OFlags::RDWR | OFlags::NONBLOCK)?;
        self.output.push((Stream::Out, terminal.try_clone()?.into()));
        self.input = Some(terminal);
        Ok(())
    }

    fn task_began(&mut self, number: u32, terminal: Vec<OwnedFd>) {
        let mut tasks =
            self.clients.iter_mut().filter_map(|client| Some((&client.socket, client.task.as_mut()?)));
        // Who asked may be gone; then the first process was told so.
        let Some((socket, task)) = tasks.find(|(_, task)| task.number == number) else { return };
        let ours = std::mem::take(&mut task.ours);
        let files: Vec<BorrowedFd<'_>> = ours.iter().chain(&terminal).map(AsFd::as_fd).collect();
        // One that does not listen is found out when it next speaks, or hangs up.
        let _ = wire::send_with(socket.as_fd(), &Reply::Began(number), &files);
    }

    fn task_over(&mut self, number: u32, reply: &Reply) {
        self.tasks.going.remove(&number);
        let is_it = |task: &Task| task.number == number;
        if let Some(client) = self.clients.iter_mut().find(|client| client.task.as_ref().is_some_and(is_it)) {
            client.task = None;
            let _ = wire::send(client.socket.as_fd(), reply, None);
        }
    }

    /// A client is gone, and what it has begun goes with it.
    pub(super) fn hang_up(&mut self, task: Option<Task>) {
        if let Some(task) = task {
            // A frozen guest hears of it when it moves again: a few words fit into the channel.
            let _ = self.order(Order::HangUp(task.number));
        }
    }
}

/// Our ends and the program's ends of its input and two outputs; none if it has a terminal.
fn ends(terminal: bool) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    if terminal {
        return Ok((Vec::new(), Vec::new()));
    }
    let (their_in, our_in) = pipe_with(PipeFlags::CLOEXEC)?;
    // Whoever runs inside can open it again, as with the outputs.
    fchmod(&their_in, Mode::from_raw_mode(0o644))?;
    let (our_out, their_out) = output_pipe()?;
    let (our_err, their_err) = output_pipe()?;
    Ok((vec![our_in, our_out.into(), our_err.into()], vec![their_in, their_out, their_err]))
}

//! Reads that are sent together.
//!
//! A command costs more than a value of a hundred bytes. So while a few reads are under way on a connection, further ones
//! wait for the next command, which asks for all of them. A read that finds none under way goes at once.
//!
//! One timer serves all that are asked for together: it ends those whose time is over, and the others wait on.

use std::collections::VecDeque;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Cmd, RedisError};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::link::{Fault, Link, Live};

/// With this many reads under way others wait: one is answered while the next is on its way.
const AT_ONCE: usize = 2;
/// The most keys in one command.
const MOST: usize = 64;
/// Where values are longer than this on average, in bytes, each is asked for by itself: the first does not wait for the last.
const SMALL: usize = 4 << 10;
/// Of how many values the average is.
const LATELY: usize = 8;
/// What timers are exact to. Readers on several threads come in the order of their deadlines but for less than this.
const TICK: Duration = Duration::from_millis(1);

type Read = Result<Option<Bytes>, Fault>;

/// The reads on a connection.
#[derive(Default)]
pub(super) struct Joined {
    reads: Mutex<Reads>,
}

#[derive(Default)]
struct Reads {
    under_way: usize,
    /// Of those, the deadlines of readers that ask by themselves. Past it one has given up, or is not polled.
    alone: Vec<Instant>,
    /// Of those under way, the tasks that look after others, and again by `latest` if not before. No reader does: it may not be polled.
    watching: usize,
    /// The latest deadline of those that joined others.
    latest: Option<Instant>,
    waiting: VecDeque<Batch>,
    /// Bytes of a value, of late.
    average: usize,
    /// Bytes of the keys of the last batch.
    key_bytes: usize,
}

/// Reads that go together.
struct Batch {
    /// One after the other.
    keys: String,
    readers: Vec<Reader>,
}

struct Reader {
    /// Where its key ends in the batch's keys.
    key_ends: usize,
    /// When its time is over.
    deadline: Instant,
    /// Gone once it was given one.
    answer: Option<oneshot::Sender<Read>>,
}

impl Batch {
    fn push(&mut self, key: &str, deadline: Instant, answer: oneshot::Sender<Read>) {
        self.keys.push_str(key);
        self.readers.push(Reader { key_ends: self.keys.len(), deadline, answer: Some(answer) });
    }

    /// The command for the keys of those who still listen: the others are dropped. `None` where none does.
    fn command(&mut self) -> Option<Cmd> {
        let mut command = Cmd::with_capacity(1 + self.readers.len(), 4 + self.keys.len());
        command.arg("MGET");
        let (keys, mut begins) = (mem::take(&mut self.keys), 0);
        self.readers.retain(|reader| {
            let key = &keys[mem::replace(&mut begins, reader.key_ends)..reader.key_ends];
            let listens = reader.answer.as_ref().is_some_and(|answer| !answer.is_closed());
            if listens {
                command.arg(key);
            }
            listens
        });
        (!self.readers.is_empty()).then_some(command)
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.readers.iter().filter(|reader| reader.answer.is_some()).map(|reader| reader.deadline)
    }

    fn expire(&mut self, now: Instant) {
        for reader in &mut self.readers {
            if reader.deadline <= now
                && let Some(answer) = reader.answer.take()
            {
                let _ = answer.send(Err(Fault::Late));
            }
        }
    }
}

impl Reads {
    fn note(&mut self, value: Option<&Bytes>) {
        self.average = (self.average * (LATELY - 1) + value.map_or(0, Bytes::len)) / LATELY;
    }

    /// Whether a reader goes by itself: further ones wait for those under way, but not for those that may never go on.
    fn has_room(&self) -> bool {
        if self.under_way < AT_ONCE || self.average > SMALL {
            return true;
        }
        let now = if self.alone.is_empty() { return false } else { Instant::now() };
        self.under_way - self.alone.iter().filter(|deadline| **deadline < now).count() < AT_ONCE
    }

    /// The batch that has room for one more.
    fn open(&mut self) -> &mut Batch {
        if self.waiting.back().is_none_or(|last| last.readers.len() >= MOST) {
            let batch = Batch { keys: String::with_capacity(self.key_bytes), readers: Vec::with_capacity(MOST) };
            self.waiting.push_back(batch);
        }
        let last = self.waiting.len() - 1;
        &mut self.waiting[last]
    }
}

/// How a read gets its answer.
enum Way {
    /// It asks by itself.
    Alone,
    /// Others ask, and end it when its time is over; if not `is_looked_after`, perhaps later.
    Joined { answer: oneshot::Receiver<Read>, is_looked_after: bool },
}

impl Joined {
    fn reads(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_or_wait(&self, key: &str, deadline: Instant) -> Way {
        // Allocated before others have to wait for it.
        let (answer, waits) = oneshot::channel();
        let mut reads = self.reads();
        if reads.has_room() {
            reads.under_way += 1;
            reads.alone.push(deadline);
            return Way::Alone;
        }
        let is_latest = reads.latest.is_none_or(|latest| deadline + TICK >= latest);
        let is_looked_after = reads.watching > 0 && is_latest;
        reads.latest = reads.latest.max(Some(deadline));
        reads.open().push(key, deadline, answer);
        Way::Joined { answer: waits, is_looked_after }
    }
}

/// A command of reads that is under way. When it ends, what has waited is asked for, whether it was answered or given up.
struct Turn {
    link: Arc<Link>,
    live: Arc<Live>,
    is_watching: bool,
    /// The deadline of a reader that asks by itself.
    alone_until: Option<Instant>,
    /// Whether a task has it that has yet to run.
    is_handed_on: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut reads = self.live.reads.reads();
        if let Some(place) = reads.alone.iter().position(|deadline| Some(*deadline) == self.alone_until) {
            reads.alone.swap_remove(place);
        }
        // A runtime that is shutting down drops the task, and with it those that wait: they are not handed on once more.
        let dropped = if self.is_handed_on { mem::take(&mut reads.waiting) } else { VecDeque::new() };
        match reads.waiting.pop_front() {
            Some(batch) => {
                let (link, live) = (Arc::clone(&self.link), Arc::clone(&self.live));
                let turn = Turn { link, live, is_watching: self.is_watching, alone_until: None, is_handed_on: true };
                drop(reads);
                self.link.runtime.spawn(turn.answer(batch));
            }
            None => {
                reads.under_way -= 1;
                reads.watching -= usize::from(self.is_watching);
                // Before those that wait hear of it: they may be dropped for that, and look for their turn.
                drop((reads, dropped));
            }
        }
    }
}

impl Turn {
    /// Asks for a batch, and for those that come to wait meanwhile.
    async fn answer(mut self, mut batch: Batch) {
        self.is_handed_on = false;
        loop {
            batch.expire(Instant::now());
            if let Some(command) = batch.command() {
                let values = self.ask(&command, &mut batch).await;
                self.give(batch, values);
                // Those who have their answers may ask for more: that goes together, too.
                tokio::task::yield_now().await;
            }
            match self.next() {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    fn next(&self) -> Option<Batch> {
        let mut reads = self.live.reads.reads();
        let next = reads.waiting.pop_front()?;
        reads.key_bytes = next.keys.len();
        Some(next)
    }

    /// The values of a batch, and meanwhile an end for those in it, and those that wait, whose time is over.
    async fn ask(&mut self, command: &Cmd, batch: &mut Batch) -> Result<Vec<Option<Bytes>>, Fault> {
        let (link, live) = (Arc::clone(&self.link), Arc::clone(&self.live));
        let mut asked = pin!(link.query_over(&live, command));
        loop {
            let Some(earliest) = self.watch(batch) else { return asked.await };
            match timeout_at(earliest, &mut asked).await {
                Ok(values) => return values,
                Err(_) => self.expire(batch),
            }
        }
    }

    /// When the first one's time is over, if there is one. While there is none, nothing wakes the task for one who comes.
    fn watch(&mut self, batch: &Batch) -> Option<Instant> {
        let mut reads = self.live.reads.reads();
        let earliest = batch.deadlines().chain(reads.waiting.iter().flat_map(Batch::deadlines)).min();
        if earliest.is_some() != self.is_watching {
            self.is_watching = !self.is_watching;
            reads.watching = if self.is_watching { reads.watching + 1 } else { reads.watching - 1 };
        }
        earliest
    }

    fn expire(&self, batch: &mut Batch) {
        let now = Instant::now();
        batch.expire(now);
        self.live.reads.reads().waiting.iter_mut().for_each(|batch| batch.expire(now));
    }

    fn give(&self, batch: Batch, values: Result<Vec<Option<Bytes>>, Fault>) {
        let values = values.and_then(|values| match values.len() == batch.readers.len() {
            true => Ok(values),
            false => Err(Fault::Redis(RedisError::from(std::io::Error::other("answers to other keys than asked for")))),
        });
        // Who gave up does not listen.
        let send = |reader: Reader, read: Read| _ = reader.answer.map(|answer| answer.send(read));
        match values {
            Ok(values) => {
                let mut reads = self.live.reads.reads();
                values.iter().for_each(|value| reads.note(value.as_ref()));
                drop(reads);
                batch.readers.into_iter().zip(values).for_each(|(reader, value)| send(reader, Ok(value)));
            }
            Err(fault) => batch.readers.into_iter().for_each(|reader| send(reader, Err(fault.clone()))),
        }
    }
}

/// What a key holds, for a caller who waits until `deadline`. A key that holds no string holds nothing, or is a fault, as the
/// read goes with others or not.
pub(super) async fn get(link: &Arc<Link>, key: &str, deadline: Instant) -> Read {
    let live = link.live()?;
    let (answer, is_looked_after) = match live.reads.begin_or_wait(key, deadline) {
        Way::Joined { answer, is_looked_after } => (answer, is_looked_after),
        Way::Alone => {
            let (link, alone_until) = (Arc::clone(link), Some(deadline));
            let turn = Turn { link, live, is_watching: false, alone_until, is_handed_on: false };
            return alone(&turn, key, deadline).await;
        }
    };
    drop(live);
    let mut watch = link.watch();
    let given = match is_looked_after {
        true => Ok(answer.await),
        false => timeout_at(deadline, answer).await,
    };
    let read = given.unwrap_or(Ok(Err(Fault::Late))).unwrap_or_else(|_| Err(link.down()));
    watch.answered = !matches!(read, Err(Fault::Late));
    read
}

async fn alone(turn: &Turn, key: &str, deadline: Instant) -> Read {
    let get = super::get(key);
    let read = timeout_at(deadline, turn.link.query_over(&turn.live, &get)).await.unwrap_or(Err(Fault::Late));
    if let Ok(value) = &read {
        turn.live.reads.reads().note(Option::as_ref(value));
    }
    read
}

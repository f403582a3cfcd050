//! What happens in a round: drawn from its seed alone.

use fastrand::Rng;

/// Hosts that there are; a round uses the first two or all.
pub const HOSTS: usize = 3;

/// A round.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    pub hosts: usize,
    pub chunk_images: u64,
    /// Whether there is an index already. If so, how many of its pictures are gone and have changed by now.
    pub standing: Option<(usize, usize)>,
    /// New pictures.
    pub new: usize,
    /// In the order in which they are waited for.
    pub blows: Vec<Blow>,
    /// When somebody asks while the run goes on, and where.
    pub question: (Moment, usize),
}

/// Something that happens when a moment is seen.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    pub moment: Moment,
    pub fault: Fault,
}

/// What a look at the share and at the controller's words can tell. In the order of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The controller owns the index.
    Begun,
    /// There is a folder for the run.
    Scanning,
    /// A worker was started.
    Started,
    /// So many new parts were there since the run began.
    Parts(usize),
    /// There is an unfinished generation.
    Merging,
    /// There is a generation that is not switched to.
    Written,
    /// There is another generation than before the round.
    Switched,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// kill -9.
    Kill(Victim),
    /// SIGSTOP, and SIGCONT when nothing has moved for some seconds.
    Freeze(Victim),
    /// A host without power.
    Off(usize, Back),
    /// A host whose cable is unplugged.
    Cut(usize, Back),
    /// A host that loses the share.
    Unmount(usize, Back),
}

/// Who is hit. Hosts by number.
#[derive(Clone, Copy, Debug)]
pub enum Victim {
    Controller,
    /// Whatever worker runs there: one that scans, or one that encodes.
    Worker(usize),
    /// Wherever it is.
    Merger,
    Server(usize),
    /// All that runs there.
    Host(usize),
}

/// When it is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// When nothing has moved for some seconds.
    Soon,
    /// When the controller has ended.
    Later,
    /// After the round.
    Never,
}

impl Plan {
    /// The round of a seed.
    pub fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let hosts = rng.usize(2..=HOSTS);
        let new = rng.usize(40..=120);
        let chunk_images = rng.u64(3..=8);
        let chunks = new / chunk_images as usize;
        let mut blows: Vec<Blow> = (0..rng.usize(1..=3)).map(|_| blow(rng, hosts, chunks)).collect();
        blows.sort_by_key(|blow| blow.moment);
        one_host_stays(&mut blows, hosts);
        Self {
            seed,
            hosts,
            chunk_images,
            standing: rng.bool().then(|| (rng.usize(0..=5), rng.usize(0..=5))),
            new,
            blows,
            question: (moment(rng, chunks), rng.usize(0..hosts)),
        }
    }
}

fn moment(rng: &mut Rng, chunks: usize) -> Moment {
    match rng.u8(0..10) {
        0 => Moment::Begun,
        1 => Moment::Scanning,
        2 => Moment::Started,
        3 => Moment::Merging,
        _ => Moment::Parts(rng.usize(1..=chunks)),
    }
}

fn blow(rng: &mut Rng, hosts: usize, chunks: usize) -> Blow {
    let host = rng.usize(0..hosts);
    let back = [Back::Soon, Back::Later, Back::Never][rng.usize(0..3)];
    let fault = match rng.u8(0..16) {
        0..=2 => Fault::Kill(Victim::Worker(host)),
        3..=5 => Fault::Kill(Victim::Controller),
        6..=7 => Fault::Kill(Victim::Merger),
        8 => Fault::Kill(Victim::Server(host)),
        9..=10 => Fault::Off(host, back),
        11 => Fault::Cut(host, back),
        12 => Fault::Unmount(host, back),
        13 => Fault::Freeze(Victim::Host(host)),
        14 => Fault::Freeze([Victim::Controller, Victim::Merger][rng.usize(0..2)]),
        _ => Fault::Freeze(Victim::Worker(host)),
    };
    let moment = match fault {
        Fault::Kill(Victim::Merger) | Fault::Freeze(Victim::Merger) => {
            [Moment::Merging, Moment::Written, Moment::Switched][rng.usize(0..3)]
        }
        Fault::Kill(Victim::Controller) if rng.u8(0..3) == 0 => Moment::Merging,
        _ => moment(rng, chunks),
    };
    Blow { moment, fault }
}

/// One host, at least, is left in peace by what lasts: somebody must be able to do the work.
fn one_host_stays(blows: &mut Vec<Blow>, hosts: usize) {
    let mut away = [false; HOSTS];
    blows.retain(|blow| match blow.fault {
        Fault::Off(host, Back::Later | Back::Never)
        | Fault::Cut(host, Back::Later | Back::Never)
        | Fault::Unmount(host, Back::Later | Back::Never) => {
            away[host] = true;
            let all = away[..hosts].iter().all(|away| *away);
            away[host] = !all;
            !all
        }
        _ => true,
    });
}

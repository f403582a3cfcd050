//! Faults while they last.

use e2e::send;

use crate::plan::{Back, Fault, Victim};
use crate::world::World;

/// What is wrong now and will be as before again.
#[derive(Default)]
pub struct Faults(Vec<Lasting>);

struct Lasting {
    fault: Fault,
    back: Back,
    /// The processes that were stopped.
    stopped: Vec<u32>,
}

impl Faults {
    /// Lets it happen. False if there was nothing to hit.
    pub fn strike(&mut self, world: &mut World, fault: Fault) -> bool {
        match fault {
            Fault::Kill(victim) => {
                let pids = processes(world, victim);
                send("KILL", &pids);
                return !pids.is_empty();
            }
            Fault::Freeze(victim) => {
                let stopped = processes(world, victim);
                let hit = !stopped.is_empty();
                match victim {
                    Victim::Host(i) if world.machines.is_on(i) => world.machines.freeze(i),
                    _ => send("STOP", &stopped),
                }
                self.0.push(Lasting { fault, back: Back::Soon, stopped });
                return hit;
            }
            Fault::Off(i, back) | Fault::Cut(i, back) | Fault::Unmount(i, back) => {
                if self.0.iter().any(|lasting| host(lasting.fault) == Some(i)) {
                    return false;
                }
                match fault {
                    Fault::Off(..) => world.machines.power_off(i),
                    Fault::Cut(..) => world.machines.cut(i),
                    _ => world.machines.unmount(i),
                }
                self.0.push(Lasting { fault, back, stopped: Vec::new() });
            }
        }
        true
    }

    /// Whether anything waits for the run to stand still.
    pub fn any_soon(&self) -> bool {
        self.0.iter().any(|lasting| lasting.back == Back::Soon)
    }

    /// Makes right again what is due.
    pub fn mend(&mut self, world: &mut World, due: &[Back]) {
        let (now, later) = std::mem::take(&mut self.0).into_iter().partition(|l: &Lasting| due.contains(&l.back));
        self.0 = later;
        for Lasting { fault, stopped, .. } in now as Vec<Lasting> {
            match fault {
                Fault::Freeze(Victim::Host(i)) if world.machines.is_on(i) => world.machines.thaw(i),
                Fault::Off(i, _) => world.machines.power_on(i),
                Fault::Cut(i, _) => world.machines.uncut(i),
                Fault::Unmount(i, _) => world.machines.remount(i),
                Fault::Freeze(_) | Fault::Kill(_) => send("CONT", &stopped),
            }
        }
    }
}

/// The host that a lasting fault takes away.
fn host(fault: Fault) -> Option<usize> {
    match fault {
        Fault::Off(i, _) | Fault::Cut(i, _) | Fault::Unmount(i, _) | Fault::Freeze(Victim::Host(i)) => Some(i),
        Fault::Kill(_) | Fault::Freeze(_) => None,
    }
}

fn processes(world: &World, victim: Victim) -> Vec<u32> {
    match victim {
        Victim::Controller => world.machines.processes(None, "controller"),
        Victim::Worker(i) => world.machines.processes(Some(i), "worker"),
        Victim::Merger => world.everywhere("merger"),
        Victim::Server(i) => world.machines.processes(Some(i), "server"),
        Victim::Host(i) => world.machines.processes(Some(i), "sshd"),
    }
}

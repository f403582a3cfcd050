//! A round: the same command until it exits 0, while things happen to those who work; then the index must be as if
//! nothing had.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e::{Said, strangers};

use crate::faults::Faults;
use crate::plan::{Back, Blow, Fault, Moment, Plan};
use crate::sight::Sight;
use crate::world::{Pictures, World};

/// Nothing has moved for so long: what was to come back soon does.
const STILL: Duration = Duration::from_secs(3);

/// Workers that have lost their controller end within this.
const ORPHANS: Duration = Duration::from_secs(90);

/// A new generation is found by a server within this.
const NEWS: Duration = Duration::from_secs(30);

/// What is told of a round.
pub struct Story {
    begun: Instant,
    /// Whatever happened, in order.
    pub lines: Vec<String>,
    /// What should not have.
    pub wrong: Vec<String>,
    pub runs: usize,
    /// Faults that hit something.
    pub hits: Vec<String>,
}

impl Story {
    fn tell(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("{:5.1} s: {what}", self.begun.elapsed().as_secs_f64()));
    }
}

/// Plays a round to its end.
pub fn play(world: &mut World, plan: &Plan) -> Story {
    let mut story = Story { begun: Instant::now(), lines: Vec::new(), wrong: Vec::new(), runs: 0, hits: Vec::new() };
    let pictures = world.prepare(plan);
    let may_be = [&pictures.before, &pictures.now];
    let asked = world.ask(plan.question.1);
    story.wrong.extend(world.answered(asked, &may_be[..1]).err());
    let mut sight = Sight::new(&world.machines.lab);
    let mut blows: VecDeque<Blow> = plan.blows.iter().copied().collect();
    let mut faults = Faults::default();
    // A host in trouble cannot be asked.
    let trouble =
        |blow: &Blow| matches!(blow.fault, Fault::Off(..) | Fault::Cut(..) | Fault::Unmount(..) | Fault::Freeze(_));
    let mut question = (!plan.blows.iter().any(trouble)).then_some(plan.question);
    loop {
        let stood = world.stood();
        story.wrong.extend(stood.wrong);
        let (said, asked) = run(world, plan, &mut sight, &mut blows, &mut faults, &mut question, &mut story);
        story.tell(format_args!("exit {}\n{}{}", said.code, said.err, said.out));
        story.wrong.extend(asked.and_then(|asked| world.answered(asked, &may_be).err()));
        faults.mend(world, &[Back::Later]);
        if said.err.contains("panicked") {
            story.wrong.push("a program panicked".into());
        }
        if said.code == 0 {
            account(&said.out, pictures.now.len() as u64, stood.pictures, &mut story);
            break;
        }
        if story.runs > plan.blows.len() + 3 {
            story.wrong.push("it does not come to an end without help".into());
            break;
        }
    }
    faults.mend(world, &[Back::Soon, Back::Never]);
    finish(world, plan, &pictures, &mut story);
    story
}

/// One run of the command, with what happens meanwhile; also gives back a question that was asked.
fn run(
    world: &mut World,
    plan: &Plan,
    sight: &mut Sight,
    blows: &mut VecDeque<Blow>,
    faults: &mut Faults,
    question: &mut Option<(Moment, usize)>,
    story: &mut Story,
) -> (Said, Option<Child>) {
    sight.begin();
    story.runs += 1;
    let mut child = start(world, plan);
    let (mut asked, mut last, mut moved) = (None, None, Instant::now());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let said = fs::metadata(world.machines.lab.path("said")).map_or(0, |m| m.len());
        let seen = sight.look(&mut story.wrong);
        if last != Some((seen, said)) {
            (last, moved) = (Some((seen, said)), Instant::now());
        }
        if blows.front().is_some_and(|blow| blow.moment <= seen)
            && let Some(blow) = blows.pop_front()
        {
            let hit = faults.strike(world, blow.fault);
            let what = format!("{:?} at {:?}", blow.fault, blow.moment);
            story.tell(format_args!("{what}, seen {seen:?}{}", if hit { "" } else { ": nobody there" }));
            story.hits.extend(hit.then_some(what));
            moved = Instant::now();
        }
        if let Some((_, host)) = question.take_if(|(moment, _)| *moment <= seen) {
            asked = Some(world.ask(host));
        }
        if moved.elapsed() > STILL && faults.any_soon() {
            faults.mend(world, &[Back::Soon]);
            story.tell("what was to come back soon is back");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let text = |name: &str| fs::read_to_string(world.machines.lab.path(name)).unwrap_or_default();
    (Said { code: status.code().unwrap_or(-1), out: text("out"), err: text("said") }, asked)
}

fn start(world: &World, plan: &Plan) -> Child {
    let mut command = world.controller(&["--chunk-images", &plan.chunk_images.to_string()]);
    let file = |name: &str| File::create(world.machines.lab.path(name)).unwrap();
    command.stdout(file("out")).stderr(file("said")).stdin(Stdio::null()).spawn().unwrap()
}

/// What the last run says it did: all is accounted for, and nothing that stood was done again.
fn account(said: &str, pictures: u64, stood: u64, story: &mut Story) {
    let line = said.lines().find(|line| line.starts_with("Scanned ")).unwrap_or_default();
    let numbers = line.split([' ', '=', '+']).filter_map(|word| word.replace(',', "").parse().ok());
    match numbers.collect::<Vec<u64>>()[..] {
        [scanned, embedded, 0, already] if scanned == pictures && embedded + already == scanned => {
            if already < stood {
                story
                    .wrong
                    .push(format!("{stood} pictures stood before the last run, of which it found only {already}"));
            }
        }
        _ => story.wrong.push(format!("{pictures} pictures are not accounted for: {line:?}")),
    }
}

/// Once everybody has ended: nothing is left over, and the index is right.
fn finish(world: &mut World, plan: &Plan, pictures: &Pictures, story: &mut Story) {
    let begun = Instant::now();
    let alive = |world: &World| ["controller", "worker", "merger"].map(|program| world.everywhere(program).len());
    while alive(world) != [0; 3] && begun.elapsed() < ORPHANS {
        std::thread::sleep(Duration::from_millis(10));
    }
    if alive(world) != [0; 3] {
        story.wrong.push(format!("controllers, workers, mergers are left: {:?}", alive(world)));
    }
    story.tell("everybody has ended");
    // A worker that had lost its controller may have finished a part after the merge; the next run takes it in.
    let parts = fs::read_dir(world.machines.lab.path("imageindex/parts")).unwrap().flatten();
    if parts.into_iter().any(|part| !part.file_name().to_string_lossy().starts_with('.')) {
        let said = world.machines.index(&[]);
        story.tell(format_args!("late parts: exit {}\n{}{}", said.code, said.err, said.out));
        if said.code != 0 || !said.out.contains(" = embedded 0 + failed 0 ") {
            story.wrong.push("a run with nothing to do did something".into());
        }
    }
    story.wrong.extend(world.judge(&pictures.now));
    story.wrong.extend(strangers(&world.machines.lab));
    let generations = [&pictures.now, &pictures.before];
    let begun = Instant::now();
    // A server looks for a newer generation once a second.
    while story.wrong.is_empty() {
        match world.answered(world.ask(plan.question.1), &generations) {
            Ok(0) => break,
            Ok(_) if begun.elapsed() < NEWS => {}
            Ok(_) => story.wrong.push("the server does not find the new generation".into()),
            Err(why) => story.wrong.push(why),
        }
    }
    story.tell("the last question is answered");
    if !story.wrong.is_empty() {
        for i in 0..plan.hosts {
            let log = "tail -n 20 /var/lib/imagefleet/*.log 2>/dev/null; true";
            story.tell(format_args!("logs of h{i}:\n{}", world.machines.inside(i, log)));
        }
    }
}

//! Machines that log in as different users share the folders of an index: whether each can read and replace what the others
//! make there is tried, before a run of hours ends with it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use protocol::setup::Owners;
use tokio::task::JoinSet;

use crate::checkup::Examined;
use crate::share::Share;
use crate::site::{SHORT, Site};

/// One machine of those of one user.
struct Party {
    /// Its place among the machines that were examined.
    at: usize,
    site: Site,
    owners: Owners,
}

/// Lets the users of the machines try, and adds what is wrong to the problems of one machine of each.
pub async fn examine(share: &Share, examined: &mut [&mut Examined]) -> Result<()> {
    let mut parties: Vec<Party> = Vec::new();
    for (at, machine) in examined.iter().enumerate() {
        let Some(owners) = machine.report.owners.clone() else { continue };
        if parties.iter().all(|party| party.owners.own != owners.own) {
            parties.push(Party { at, site: machine.site.clone(), owners });
        }
    }
    if parties.len() < 2 {
        return Ok(());
    }
    // Names that nobody has looked for before, so that no cache of a share can hide the files.
    let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = |from: usize, to: usize| format!("{run}-{}-{from}-{to}", std::process::id());
    let mut found = ask_all(share, &parties, "leave", name).await?;
    found.extend(ask_all(share, &parties, "take", |i, j| name(j, i)).await?);
    ask_all(share, &parties, "take-back", name).await?;
    for (i, problem) in found {
        let problem = named(&problem, &parties[i].owners);
        let problems = &mut examined[parties[i].at].problems;
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    Ok(())
}

/// What a machine says of the user that it is logged in to, as it reads where there are several.
pub fn named(problem: &str, owners: &Owners) -> String {
    problem.replace("this user", &format!("user {}", owners.user))
}

/// Has each do its part towards each of the others, at once. What is wrong, by party.
async fn ask_all(
    share: &Share,
    parties: &[Party],
    part: &str,
    name: impl Fn(usize, usize) -> String,
) -> Result<Vec<(usize, String)>> {
    let mut asked = JoinSet::new();
    for (i, party) in parties.iter().enumerate() {
        let others = (0..parties.len()).filter(|j| *j != i);
        let question = share.arguments(&party.site)?.word("--share-only");
        let question = others.fold(question, |question, j| question.set(part, name(i, j)));
        let site = party.site.clone();
        asked.spawn(async move { (i, site.ask(&question, SHORT).await) });
    }
    let mut found = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let (i, report) = answer?;
        match report {
            Ok(report) => found.extend(report.problems.into_iter().map(|problem| (i, problem))),
            Err(error) => found.push((i, format!("{error:#}"))),
        }
    }
    Ok(found)
}

//! The words of a `hosts` file: how they are told apart, and what can be a machine's name.

use std::net::IpAddr;

/// A word so that [`split_words`] reads it again as it is.
pub(crate) fn quoted(word: &str) -> String {
    let plain = !word.contains(|c: char| c.is_whitespace() || "'\"#".contains(c));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\"'\"'")) }
}

/// Words of a line: separated by blanks; quotes keep blanks; `#` begins a comment outside quotes.
pub(crate) fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == '#' && word.is_none() => break,
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// Refuses a name that ssh could not take for a machine, and says how it is written.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.starts_with('-') {
        return Err("a machine's name cannot be empty or begin with a dash".into());
    }
    if let Some(rest) = name.strip_prefix("ssh://") {
        return Err(format!("a line begins with the name alone, as {rest}; user= and port= are words of their own"));
    }
    // An address of IPv6 may name an interface.
    let address = name.rsplit('@').next().and_then(|name| name.split('%').next()).unwrap_or(name);
    if !name.contains([':', '[', ']']) || address.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    match name.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            let host = host.trim_matches(['[', ']']);
            Err(format!("the port is a word of its own: {host} port={port}"))
        }
        _ => Err("a machine's name holds none of : [ ]".into()),
    }
}

/// Whose a file is that is not ours, and the line that shows it.
pub(crate) fn others(text: &str) -> Option<(usize, &'static str)> {
    text.lines().enumerate().find_map(|(i, line)| {
        let words: Vec<&str> = line.split('#').next()?.split_whitespace().collect();
        let first = *words.first()?;
        let section = first.starts_with('[') && first.ends_with(']') && !first.contains("::");
        let range = first.split_once('[').is_some_and(|(name, range)| !name.is_empty() && range.contains(':'));
        let yaml = matches!(first, "---" | "all:" | "ungrouped:");
        if section || range || yaml || words.iter().any(|word| word.starts_with("ansible_")) {
            return Some((i + 1, "an inventory of Ansible"));
        }
        let named = words.get(1).is_some_and(|name| !name.contains('='));
        let table = first.parse::<IpAddr>().is_ok() && named;
        table.then_some((i + 1, "a system's table of addresses, as /etc/hosts"))
    })
}

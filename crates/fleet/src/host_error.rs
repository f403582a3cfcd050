//! What can go wrong with a machine, in words that say what to do. Host keys are never to be ignored, so no text here
//! advises it.

use std::fmt;

use protocol::joined;

/// Something that could not be done on a machine. Its source is what ssh, the machine or the system said.
#[derive(Debug, thiserror::Error)]
#[error("{host}: cannot {task}{}", remedy(*kind, by_hand))]
pub struct HostError {
    /// The machine, by its name in `hosts`.
    pub host: String,
    /// What kind of fault it is.
    pub kind: HostErrorKind,
    task: String,
    by_hand: String,
    source: Option<Said>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostErrorKind {
    /// Its name cannot be resolved.
    UnknownHost,
    /// Nothing listens there.
    Refused,
    /// There is no way to it.
    Unreachable,
    /// It did not answer within the limit.
    TimedOut,
    /// Its host key has never been confirmed here.
    HostKeyUnknown,
    /// Its host key is another than the confirmed one.
    HostKeyChanged,
    /// It does not let this person in.
    PermissionDenied,
    /// The connection stood and broke. What ran there may still run.
    Lost,
    /// The program to be started is not there.
    ProgramMissing,
    /// The program is there, but may not be started.
    ProgramBarred,
    /// It closes connections before anybody can log in, each time.
    TurnedAway,
    /// It allows no more sessions on one connection.
    NoSession,
    /// It forwards no sockets.
    ForwardingOff,
    /// The start-up files of the account there, or its shell, are in the way; the source tells how.
    StartUp,
    /// Anything else; the source tells.
    Other,
}

/// The original text, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl HostError {
    /// A fault on `host` while doing `task` ("start /w/worker"). `said` may be empty.
    pub(crate) fn new(host: &str, kind: HostErrorKind, task: impl Into<String>, said: impl fmt::Display) -> Self {
        let said = joined(&said.to_string());
        let source = Some(said).filter(|s| !s.is_empty()).map(Said);
        Self { host: host.to_owned(), kind, task: task.into(), by_hand: String::new(), source }
    }

    /// A connection that did not come about. `by_hand` is the command with which a person can try the same.
    pub(crate) fn connecting(host: &str, kind: HostErrorKind, by_hand: String, said: &str) -> Self {
        let said = if kind == HostErrorKind::HostKeyChanged { facts_of_changed_key(said) } else { said.to_owned() };
        Self { by_hand, ..Self::new(host, kind, "connect", said) }
    }

    /// What ssh, the machine or the system said; empty if nothing.
    pub fn detail(&self) -> &str {
        self.source.as_ref().map_or("", |said| &said.0)
    }
}

/// Which key is offered, and where another one stands. ssh also says how to forget the known key; that is not for here.
fn facts_of_changed_key(said: &str) -> String {
    let facts = ["The fingerprint", "SHA256:", "Offending ", "Host key for "];
    let lines = said.lines().map(str::trim).filter(|l| facts.iter().any(|fact| l.starts_with(fact)));
    lines.collect::<Vec<_>>().join("\n")
}

fn remedy(kind: HostErrorKind, by_hand: &str) -> String {
    match kind {
        HostErrorKind::UnknownHost => {
            ": no machine of this name is known; check its line in hosts, or name it in your ssh configuration".into()
        }
        HostErrorKind::Refused => ": it refuses the connection; is sshd running there, and is the port right?".into(),
        HostErrorKind::Unreachable => ": there is no way to it; is it switched on, and are you in its network?".into(),
        HostErrorKind::TimedOut => ": no answer in time; is the machine up, and is its share mounted?".into(),
        HostErrorKind::HostKeyUnknown => {
            format!(": its host key is not known here; connect once by hand and check the key: {by_hand}")
        }
        HostErrorKind::HostKeyChanged => {
            ": its host key is NOT the one known here: it was installed anew, or another machine answers in its place. \
             Ask whoever runs it which key is right before you connect"
                .into()
        }
        HostErrorKind::PermissionDenied => format!(
            ": it does not let you in; set user= and identity_file= in hosts, or load your key with ssh-add, until this \
             works: {by_hand}"
        ),
        HostErrorKind::Lost => ": the connection was lost; what runs there ends by itself within a minute".into(),
        HostErrorKind::ProgramMissing => ": there is no such program; run setup_workers.sh".into(),
        HostErrorKind::ProgramBarred => {
            ": it is there, but may not be started; is its folder on a file system that is mounted noexec? Set work_dir= in \
             hosts to a folder on another one"
                .into()
        }
        HostErrorKind::TurnedAway => {
            ": it closes the connection before anybody can log in, three times now; do too many log in at once \
             (MaxStartups in its sshd_config), or does it bar this machine?"
                .into()
        }
        HostErrorKind::NoSession => {
            ": it allows no further session on one connection; raise MaxSessions in its sshd_config, to 10 as is usual"
                .into()
        }
        HostErrorKind::ForwardingOff => {
            ": it forwards no sockets; set AllowTcpForwarding and AllowStreamLocalForwarding to yes in its sshd_config, and \
             look for restrictions of your key there"
                .into()
        }
        HostErrorKind::StartUp => {
            ": start-up files of the account there (as .bashrc) are in the way, or its shell is none; let them end at once \
             where there is no terminal, by a first line: [ -t 0 ] || return"
                .into()
        }
        HostErrorKind::Other if by_hand.is_empty() => String::new(),
        HostErrorKind::Other => format!("; try by hand: {by_hand}"),
    }
}

impl HostErrorKind {
    /// The kind of a failed connection, from what ssh said. ssh does not translate its messages.
    pub(crate) fn of_connection(said: &str) -> Self {
        let kinds = [
            ("HOST IDENTIFICATION HAS CHANGED", Self::HostKeyChanged),
            ("has changed and you have requested strict checking", Self::HostKeyChanged),
            ("REVOKED HOST KEY", Self::HostKeyChanged),
            ("host key is known for", Self::HostKeyUnknown),
            ("Host key verification failed", Self::HostKeyUnknown),
            ("Could not resolve hostname", Self::UnknownHost),
            ("Permission denied (", Self::PermissionDenied),
            ("Too many authentication failures", Self::PermissionDenied),
            ("Connection refused", Self::Refused),
            ("No route to host", Self::Unreachable),
            ("Network is unreachable", Self::Unreachable),
            ("Host is down", Self::Unreachable),
            ("timed out", Self::TimedOut),
            // Said also where a jump host, which has told more, could go no further.
            ("kex_exchange_identification: Connection closed", Self::TurnedAway),
            ("kex_exchange_identification: read: Connection reset", Self::TurnedAway),
            ("ssh_exchange_identification: Connection closed", Self::TurnedAway),
            ("ssh_exchange_identification: read: Connection reset", Self::TurnedAway),
            ("Exceeded MaxStartups", Self::TurnedAway),
            ("Not allowed at this time", Self::TurnedAway),
        ];
        kinds.into_iter().find(|(words, _)| said.contains(words)).map_or(Self::Other, |(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_ssh_has_its_kind() {
        for (said, kind) in [
            ("ssh: Could not resolve hostname nowhere: Name or service not known", HostErrorKind::UnknownHost),
            ("ssh: connect to host a port 22: Connection refused", HostErrorKind::Refused),
            ("ssh: connect to host a port 22: No route to host", HostErrorKind::Unreachable),
            ("ssh: connect to host a port 22: Operation timed out", HostErrorKind::TimedOut),
            ("Connection timed out during banner exchange", HostErrorKind::TimedOut),
            (
                "No ED25519 host key is known for a and you have requested strict checking.\r\nHost key verification failed.",
                HostErrorKind::HostKeyUnknown,
            ),
            (
                "Host key for a has changed and you have requested strict checking.\r\nHost key verification failed.",
                HostErrorKind::HostKeyChanged,
            ),
            ("joe@a: Permission denied (publickey).", HostErrorKind::PermissionDenied),
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by 10.0.0.7 port 22",
                HostErrorKind::TurnedAway,
            ),
            ("kex_exchange_identification: read: Connection reset by peer", HostErrorKind::TurnedAway),
            (
                "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n\
                 kex_exchange_identification: Connection closed by remote host",
                HostErrorKind::Refused,
            ),
            ("Connection closed by UNKNOWN port 65535", HostErrorKind::Other),
        ] {
            assert_eq!(HostErrorKind::of_connection(said), kind, "{said}");
        }
    }

    #[test]
    fn a_changed_key_is_never_explained_away() {
        const SAID: &str = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\n\
            The fingerprint for the ED25519 key sent by the remote host is\r\nSHA256:abc.\r\n\
            Offending ED25519 key in /x/known_hosts:1\r\n  remove with:\r\n  ssh-keygen -f \"/x/known_hosts\" -R \"duc17\"";
        let error = HostError::connecting("duc17", HostErrorKind::HostKeyChanged, "ssh duc17".into(), SAID);
        assert!(error.detail().contains("SHA256:abc") && error.detail().contains("known_hosts:1"));
        let text = format!("{error} {}", error.detail());
        assert!(text.starts_with("duc17: cannot connect: "), "{text}");
        for bad in ["ssh-keygen", "-R", "remove", "StrictHostKeyChecking", "ignore"] {
            assert!(!text.contains(bad), "{text}");
        }
    }
}

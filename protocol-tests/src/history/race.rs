//! Several connections add the same keys at a time, while nothing else goes on: exactly one of them has each.

use std::sync::Barrier;
use std::thread;

use super::link::Link;
use crate::tls::Trust;

/// What one connection was answered for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Stored,
    NotStored,
    Refused,
}

/// Races for [`KEYS`] new keys of a round; what was wrong. `has_meta` lets every other connection add by `ms`.
pub fn add(port: u16, trust: Option<&Trust>, round: u64, has_meta: bool) -> Result<Vec<String>, String> {
    let barrier = Barrier::new(RACERS);
    let answers: Vec<Result<Vec<Answer>, String>> = thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let link = Link::open(port, trust);
                    barrier.wait();
                    race(link?, racer, round, has_meta && racer % 2 == 1)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap_or(Err("a racer panicked".to_string()))).collect()
    });
    let answers: Vec<Vec<Answer>> = answers.into_iter().collect::<Result<_, _>>()?;
    let mut link = Link::open(port, trust)?;
    let mut wrong = Vec::new();
    for key in 0..KEYS {
        let given = answers.iter().map(|answers| answers[key]).enumerate();
        let of = |answer: Answer| -> Vec<usize> {
            given.clone().filter(|(_, given)| *given == answer).map(|(racer, _)| racer).collect()
        };
        let winners = of(Answer::Stored);
        let name = name(round, key);
        if winners.len() > 1 || winners.is_empty() && !of(Answer::NotStored).is_empty() {
            wrong.push(format!("{name}: of {RACERS} adds {} were stored", winners.len()));
        }
        link.send(format!("mg {name} v\r\n").as_bytes())?;
        let shown = line(&mut link)?;
        if shown.starts_with("VA ") && line(&mut link)?.parse().ok() != winners.first().copied() {
            wrong.push(format!("{name}: not the value of the add that was stored"));
        }
    }
    Ok(wrong)
}

fn race(mut link: Link, racer: usize, round: u64, is_meta: bool) -> Result<Vec<Answer>, String> {
    let mut request = String::new();
    for key in 0..KEYS {
        let name = name(round, key);
        request += &match is_meta {
            true => format!("ms {name} 1 ME T{LIFETIME_SECONDS}\r\n{racer}\r\n"),
            false => format!("add {name} 0 {LIFETIME_SECONDS} 1\r\n{racer}\r\n"),
        };
    }
    link.send(request.as_bytes())?;
    (0..KEYS)
        .map(|_| match line(&mut link)?.as_str() {
            "STORED" | "HD" => Ok(Answer::Stored),
            "NOT_STORED" | "NS" => Ok(Answer::NotStored),
            refused if refused.starts_with("SERVER_ERROR out of memory") => Ok(Answer::Refused),
            other => Err(format!("an add is answered '{other}'")),
        })
        .collect()
}

fn name(round: u64, key: usize) -> String {
    format!("a{round:06}-{key:03}")
}

fn line(link: &mut Link) -> Result<String, String> {
    loop {
        if let Some(end) = link.received().iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(link.received()[..end].trim_ascii_end()).into_owned();
            link.consume(end + 1);
            return Ok(line);
        }
        link.wait()?;
    }
}

/// Connections of a race; a digit says each.
const RACERS: usize = 8;

/// Keys of a race.
pub const KEYS: usize = 60;

/// They are of no use afterwards.
const LIFETIME_SECONDS: u32 = 30;

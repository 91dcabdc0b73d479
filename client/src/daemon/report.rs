//! How a running daemon tells what happens: a progress bar for each federation on a terminal, plain
//! lines in a log, or JSON lines for programs.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use roundelay_program::{Output, say};
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::plain::shown;

use crate::sdk::{Board, ClientEvent, FederationEvent};

/// The same trouble is told again after this long.
const REPEAT: Duration = Duration::from_secs(60);

/// Takes events from any thread.
pub(super) struct Reporter {
    told: Mutex<Told>,
    board: Arc<Mutex<Board>>,
    output: Output,
    screen: Option<MultiProgress>,
}

#[derive(Default)]
struct Told {
    /// The last trouble with the connection, and when it was told.
    trouble: Option<(String, Instant)>,
    /// Why each federation waited last.
    waiting: BTreeMap<FederationId, String>,
    bars: BTreeMap<FederationId, ProgressBar>,
    /// A federation that can't run, with its name: where it was the last one, the program ends
    /// with this as its error, and nothing comes behind it.
    failed: Option<(String, ClientEvent)>,
}

impl Reporter {
    pub(super) fn new(output: Output, board: Arc<Mutex<Board>>) -> Self {
        let on_terminal = output == Output::Human && std::io::stderr().is_terminal();
        let screen = on_terminal.then(MultiProgress::new);
        Self { told: Mutex::default(), board, output, screen }
    }

    pub(super) fn take(&self, event: &ClientEvent) {
        let (name, all_over) = {
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            board.take(event);
            (name_of(&board, event), board.federations.values().all(|it| it.over.is_some()))
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_repetition(event) {
            return;
        }
        if self.output == Output::Json {
            return say(event);
        }
        for (name, event) in told.due(name, event, all_over) {
            match &self.screen {
                Some(screen) => told.draw(screen, &name, &event),
                None => log(&shown(&name), &event),
            }
        }
    }
}

/// The name of the federation that an event is about.
fn name_of(board: &Board, event: &ClientEvent) -> String {
    let ClientEvent::Federation { federation, .. } = event else { return String::new() };
    match board.federations.get(federation) {
        Some(standing) if !standing.name.is_empty() => standing.name.clone(),
        _ => federation.to_string(),
    }
}

impl Told {
    /// Whether the same was told a short while ago.
    fn is_repetition(&mut self, event: &ClientEvent) -> bool {
        match event {
            ClientEvent::Connecting { .. } => self.trouble.is_some(),
            ClientEvent::Connected => {
                self.trouble = None;
                false
            }
            ClientEvent::Disconnected { reason, .. } => {
                let again = self
                    .trouble
                    .as_ref()
                    .is_some_and(|(told, at)| told == reason && at.elapsed() < REPEAT);
                if !again {
                    self.trouble = Some((reason.clone(), Instant::now()));
                }
                again
            }
            ClientEvent::Federation {
                federation,
                news:
                    FederationEvent::Waiting { reason, .. }
                    | FederationEvent::NotTaken { reason }
                    | FederationEvent::Amending { reason },
            } => self.waiting.insert(*federation, reason.clone()).as_ref() == Some(reason),
            _ => false,
        }
    }

    /// What people are told now. The failure of the last federation waits for whatever comes behind
    /// it: mostly that is the end, whose error says the same.
    fn due(
        &mut self,
        name: String,
        event: &ClientEvent,
        all_over: bool,
    ) -> Vec<(String, ClientEvent)> {
        let mut due: Vec<_> = self.failed.take().into_iter().collect();
        match event {
            ClientEvent::Federation { news: FederationEvent::Failed { .. }, .. } if all_over => {
                self.failed = Some((name, event.clone()));
            }
            _ => due.push((name, event.clone())),
        }
        due
    }

    fn draw(&mut self, screen: &MultiProgress, name: &str, event: &ClientEvent) {
        let ClientEvent::Federation { federation, news } = event else {
            let _ = screen.println(shown(&event.to_string()));
            return;
        };
        let bar = self.bars.entry(*federation).or_insert_with(|| screen.add(bar(name)));
        bar.set_prefix(shown(name).into_owned());
        match news {
            FederationEvent::Training { round, done, total } => {
                bar.set_length(*total);
                bar.set_position(*done);
                bar.set_message(format!("round {round}: training"));
            }
            FederationEvent::RoundBegan { .. }
            | FederationEvent::Working { .. }
            | FederationEvent::Uploading { .. } => {
                bar.set_message(shown(&news.to_string()).into_owned())
            }
            FederationEvent::Over { .. } | FederationEvent::Failed { .. } => {
                bar.finish_and_clear();
                let _ = screen.println(shown(&format!("{name}: {news}")));
            }
            _ => {
                let _ = screen.println(shown(&format!("{name}: {news}")));
            }
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(shown(name).into_owned());
    let style = ProgressStyle::with_template("{spinner} {prefix} {wide_bar} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn log(name: &str, event: &ClientEvent) {
    match event {
        ClientEvent::Disconnected { .. } | ClientEvent::Warning { .. } => {
            tracing::warn!("{}", shown(&event.to_string()))
        }
        ClientEvent::Federation { news, .. } => match news {
            FederationEvent::Training { .. }
            | FederationEvent::RoundBegan { .. }
            | FederationEvent::Working { .. }
            | FederationEvent::Uploading { .. } => {
                tracing::debug!("{name}: {}", shown(&news.to_string()))
            }
            FederationEvent::SatOut { .. }
            | FederationEvent::WorkFailed { .. }
            | FederationEvent::CoordinatorBehind { .. }
            | FederationEvent::LineageBroken { .. }
            | FederationEvent::NotStored { .. }
            | FederationEvent::Failed { .. } => {
                tracing::warn!("{name}: {}", shown(&news.to_string()))
            }
            _ => tracing::info!("{name}: {}", shown(&news.to_string())),
        },
        _ => tracing::info!("{}", shown(&event.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_that_ends_the_program_is_left_to_its_error() {
        let failed = ClientEvent::Federation {
            federation: FederationId([1; 16]),
            news: FederationEvent::Failed { reason: "rows.csv, line 3".to_owned() },
        };
        let mut told = Told::default();
        assert!(told.due("f".to_owned(), &failed, true).is_empty());
        let behind = told.due(String::new(), &ClientEvent::Connected, true);
        assert_eq!(
            behind,
            [("f".to_owned(), failed.clone()), (String::new(), ClientEvent::Connected)]
        );
        let others_run = told.due("f".to_owned(), &failed, false);
        assert_eq!(others_run, [("f".to_owned(), failed)]);
    }
}

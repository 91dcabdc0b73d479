//! The verb `parameters`: the numbers of a round before there is one, in words or as JSON. It asks
//! nobody and opens nothing.

use clap::Args;
use roundelay_program::answer::answer;
use roundelay_program::{Output, tell};
use roundelay_protocol::manifest::CoordinatorTrust;

use crate::admin::{AdminError, Kind};
use crate::parameters::{Cost, Question, Report};

/// What numbers are asked for.
#[derive(Debug, Args)]
pub struct AskParameters {
    /// Clients of a cohort
    #[arg(long, value_name = "N")]
    pub clients: u16,
    /// The share of them that may drop out, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub dropout: f64,
    /// The share of them that may collude with the coordinator [default: a quarter of the others]
    #[arg(long, value_name = "SHARE")]
    pub corrupt: Option<f64>,
    /// The coordinator may lie and collude: the complete graph
    #[arg(long, conflicts_with = "semi_honest", required_unless_present = "semi_honest")]
    pub malicious: bool,
    /// The coordinator follows the protocol and is curious: a sparse graph above 512 clients
    #[arg(long)]
    pub semi_honest: bool,
    /// Parameters of the model, for the cost
    #[arg(long, value_name = "D", default_value_t = 1_000_000)]
    pub parameters: u64,
    /// Bits of a word of an update, for the cost
    #[arg(long, value_name = "BITS", default_value_t = 32, value_parser = ring_bits)]
    pub ring_bits: u8,
}

fn ring_bits(text: &str) -> Result<u8, String> {
    match text {
        "16" => Ok(16),
        "32" => Ok(32),
        _ => Err("16 or 32".to_owned()),
    }
}

/// Answers on standard output.
pub(super) fn run(asked: &AskParameters, output: Output) -> Result<(), AdminError> {
    let coordinator = match asked.semi_honest {
        true => CoordinatorTrust::SemiHonest,
        false => CoordinatorTrust::Malicious,
    };
    let question = Question {
        coordinator,
        clients: asked.clients,
        corrupt: asked.corrupt,
        dropout: asked.dropout,
        parameters: asked.parameters,
        ring_bits: asked.ring_bits,
    };
    let report = question
        .answer()
        .map_err(|error| AdminError::new(Kind::Invalid, "no_parameters", error))?;
    match output {
        Output::Human => render(&report).lines().for_each(|line| tell!("{line}")),
        Output::Json => answer("parameters", &report),
    }
    Ok(())
}

/// As people read it.
pub(super) fn render(report: &Report) -> String {
    let trust = match report.coordinator {
        CoordinatorTrust::Malicious => "may lie and collude (malicious)",
        CoordinatorTrust::SemiHonest => "follows the protocol and is curious (semi-honest)",
    };
    let Report { clients, corrupt, dropouts, .. } = report;
    let mut text = format!(
        "{clients} clients; {corrupt} of them may collude with the coordinator, {dropouts} may drop \
         out\nthe coordinator {trust}\n\nNumbers\n"
    );
    text.push_str(&numbers(report));
    text.push_str("\nGuarantees\n");
    text.push_str(&guarantees(report));
    text.push_str("\nCost, by formula, of one round\n");
    text.push_str(&cost(&report.cost));
    if report.clients > report.clients_max {
        text.push_str(&format!(
            "\nA round takes at most {} clients with such a coordinator: larger federations are \
             refused when they are made.\n",
            report.clients_max
        ));
    }
    text
}

fn numbers(report: &Report) -> String {
    let Report { degree, threshold, quorum, clients, corrupt_neighbours, .. } = report;
    let graph = match report.complete {
        true => format!("complete graph: everybody shares masks with all {degree} others"),
        false => format!("sparse graph: everybody shares masks with {degree} others, by lot"),
    };
    let holders = match report.complete {
        true => format!("{threshold} of all {clients} clients rebuild a seed"),
        false => format!(
            "{threshold} of a client's {degree} neighbours rebuild its seeds; at most \
             {corrupt_neighbours} of them collude"
        ),
    };
    format!(
        "  {graph}\n  threshold {threshold}: {holders}\n  quorum {quorum}: so many clients sign who \
         is in the sum before anything is opened\n"
    )
}

fn guarantees(report: &Report) -> String {
    let held = &report.guarantees;
    let honest = held.honest_in_a_sum_min;
    let mut text = format!(
        "  nothing comes open but sums over at least {honest} clients that do not collude\n"
    );
    let mut say = |what: &str, bits: Option<u32>| {
        let chance = chance(bits);
        text.push_str(&format!("  {what}: {chance}\n"));
    };
    if report.complete {
        say(
            "both seeds of a client are rebuilt, whatever the coordinator tells whom, while no more \
             collude",
            held.exposed_bits,
        );
        say("the round ends without a sum, while no more drop out", held.stuck_bits);
        return text;
    }
    say("more colluding neighbours than that around some client", held.exposed_bits);
    say(
        "colluders and dropouts cut the graph, so that sums over parts of it come open",
        held.cut_bits,
    );
    say(
        "too few neighbours of some client stay, and the round ends without a sum",
        held.stuck_bits,
    );
    text.push_str("  no claim is made against a coordinator that lies: see --malicious\n");
    text
}

/// A probability in words.
fn chance(bits: Option<u32>) -> String {
    match bits {
        None => "cannot happen".to_owned(),
        Some(bits @ 0..=9) => format!("at most one round in {}", 1_u32 << bits),
        Some(bits) => {
            // 2^10 is 10^3.01, so this says no more than holds.
            let tens = f64::from(bits) * std::f64::consts::LOG10_2;
            format!("at most one round in 10^{:.0} (2^-{bits})", tens.floor())
        }
    }
}

fn cost(cost: &Cost) -> String {
    format!(
        "  a client: {} key pairs of X25519 and ML-KEM-768, {} agreements, {} masks\n  \
         a client sends {} and its vector of {} ({} words of {} bits)\n  \
         a client gets {} and the model of {}\n  \
         a client computes {:.1} ms for keys and signatures and {:.1} ms for masks\n  \
         the coordinator computes {:.1} ms for the masks of each dropout\n  \
         (one core with VAES: 36 us an X25519 product, 25 us an ML-KEM operation or a signature among \
         others, 13 GB/s of masks)\n",
        cost.key_pairs,
        cost.agreements,
        cost.masks,
        bytes(cost.control_bytes_up),
        bytes(cost.vector_bytes_up),
        cost.parameters,
        cost.ring_bits,
        bytes(cost.control_bytes_down),
        bytes(cost.model_bytes_down),
        cost.client_keys_ms,
        cost.client_masks_ms,
        cost.dropout_masks_ms,
    )
}

fn bytes(number: u64) -> String {
    match number {
        0..10_000 => format!("{number} B"),
        10_000..10_000_000 => format!("{} kB", number / 1000),
        _ => format!("{} MB", number / 1_000_000),
    }
}

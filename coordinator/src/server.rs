//! The coordinator's side of the network: an endpoint takes connections in, a connection turns
//! bytes into messages under limits, and the driver runs the engine of each federation.
//!
//! | module | what lives there |
//! |---|---|
//! | [`transport`], [`quic`] | a connection with streams as traits; QUIC behind them |
//! | [`tls`], [`endpoint`] | TLS 1.3 with aws-lc-rs; the UDP socket and the limits of QUIC |
//! | [`admission`], [`enrolment`] | who may speak what; the connections that enrol |
//! | [`framing`], [`closing`] | frames under deadlines; why a connection ends |
//! | [`driver`] | the engine of each federation, driven |

pub mod admission;
pub mod closing;
pub mod driver;
pub mod endpoint;
pub mod enrolment;
pub mod framing;
pub mod quic;
pub mod tls;
pub mod transport;

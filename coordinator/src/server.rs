//! The coordinator's side of the network: an endpoint takes connections in, a connection turns
//! bytes into messages under limits, and the driver runs the engine of each federation.

//! What a client decides, without I/O: it holds the pinned manifest, the history and the model
//! state of each federation, drives the round machines of `roundelay-protocol`, and says what is to
//! be done as data. Three drivers run it: tests, the simulator, and the daemon's session.

mod cores;
mod large;
mod reports;
mod victims;
mod world;

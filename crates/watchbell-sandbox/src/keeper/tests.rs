mod cri;
mod files;
mod pipes;

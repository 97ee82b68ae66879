mod cri;
mod files;
mod pipes;
mod viewers;

# Fit naive.stan with rstan: data.json in, draws.csv (chain, then quantities) and times.json out.
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]; program <- arguments[2]; draws <- as.integer(arguments[3])
library(rstan)
library(jsonlite)
options(mc.cores = as.integer(arguments[4]))
d <- fromJSON(file.path(folder, "data.json"))
start <- proc.time()[["elapsed"]]
model <- stan_model(program)
compiled <- proc.time()[["elapsed"]] - start
wanted <- c("pooled", "effect_mean", "site_effect", "site_effect_sd", "mix_effect_sd", "site_level_sd",
            "site_drift_sd", "site_curve_sd", "national_curve_sd", "concentration")
start <- proc.time()[["elapsed"]]
fit <- sampling(model, data = d, chains = 4, iter = 2 * draws, warmup = draws, seed = 1, pars = wanted,
                refresh = 0)
sampled <- proc.time()[["elapsed"]] - start
leaps <- sum(sapply(get_sampler_params(fit, inc_warmup = TRUE), function(x) sum(x[, "n_leapfrog__"])))
bad <- sum(sapply(get_sampler_params(fit, inc_warmup = FALSE), function(x) sum(x[, "divergent__"])))
a <- as.array(fit, pars = wanted)
flat <- do.call(rbind, lapply(seq_len(dim(a)[2]), function(k) cbind(chain = k, a[, k, ])))
write.csv(flat, file.path(folder, "draws.csv"), row.names = FALSE)
write(toJSON(list(compile = compiled, sample = sampled, gradients = leaps, divergences = bad),
             auto_unbox = TRUE), file.path(folder, "times.json"))

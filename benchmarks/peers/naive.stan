// The custody model as its text reads: the same posterior as naive.py, for rstan.
data {
  int S; int T; int M; int W; int K; int L; int H; int C;
  int cell_site[C]; int cell_month[C]; int cell_n[C]; int cell_y[C];
  int event[S, T];
  vector[T] time; matrix[T, K] national; matrix[T, L] local; matrix[T, H] harmonics;
  int mix_count[S, M]; row_vector[M] mix_centre; int wave[S]; vector[S] predecessor; real wave_sd;
  int R; int retro_site[R]; int retro_month[R]; int retro_key[R]; int retro_n[R]; int retro_y[R]; int RS;
  int Q; int hist_site[Q]; int hist_month[Q]; real hist_lag[Q]; int hist_n[Q]; int hist_y[Q];
  int N; matrix[N, T] nat_weight; vector[S] nat_share; vector[N] nat_logit; matrix[N, N] nat_chol;
  int E; matrix[E, S] eli_weight; vector[T] eli_month; vector[E] eli_logit; matrix[E, E] eli_chol;
  int window_first; int window_last;
}
parameters {
  real effect_mean; real<lower=0> site_effect_sd; real<lower=0> mix_effect_sd;
  real predecessor_effect; real<lower=0> ramp_months; real baseline_level; real national_slope;
  real<lower=0> national_curve_sd; vector[H] season; real<lower=0> site_level_sd;
  real<lower=0> site_drift_sd; real<lower=0> site_curve_sd; real<lower=0> concentration;
  real<lower=0> mix_concentration; simplex[M] mix_share[S];
  vector[M - 1] mix_raw; vector[W - 1] wave_raw; vector[S] deviation_z; vector[K] curve_z;
  vector[S - 1] drift_raw; matrix[L, S - 1] bend_raw; vector[S] level_z;
  real retrospective_bias; real<lower=0> retrospective_bias_sd; vector[RS] retro_z;
  real<lower=0> crisis_dip; real<lower=0> crisis_recovery_months; real history_selection;
}
transformed parameters {
  vector[S] site_effect; matrix[S, T] eta0;
  {
    vector[M] d; vector[W] w; vector[S] b; matrix[L, S] g; vector[T] nat; vector[S] level;
    real norm;
    // an isometric zero-sum vector from one coordinate fewer
    norm = sum(mix_raw) / (sqrt(M) + M);
    d[1:(M - 1)] = mix_effect_sd * (mix_raw - norm);
    d[M] = -mix_effect_sd * sum(mix_raw) / sqrt(M);
    norm = sum(wave_raw) / (sqrt(W) + W);
    w[1:(W - 1)] = wave_sd * (wave_raw - norm);
    w[W] = -wave_sd * sum(wave_raw) / sqrt(W);
    norm = sum(drift_raw) / (sqrt(S) + S);
    b[1:(S - 1)] = site_drift_sd * (drift_raw - norm);
    b[S] = -site_drift_sd * sum(drift_raw) / sqrt(S);
    for (k in 1:L) {
      norm = sum(bend_raw[k]) / (sqrt(S) + S);
      g[k, 1:(S - 1)] = site_curve_sd * (bend_raw[k] - norm);
      g[k, S] = -site_curve_sd * sum(bend_raw[k]) / sqrt(S);
    }
    for (s in 1:S)
      site_effect[s] = effect_mean + predecessor_effect * predecessor[s]
        + (mix_share[s]' - mix_centre) * d + w[wave[s]] + site_effect_sd * deviation_z[s];
    nat = national_slope * time + national * (national_curve_sd * curve_z) + harmonics * season;
    level = baseline_level + site_level_sd * level_z;
    eta0 = rep_matrix(nat', S) + rep_matrix(level, T) + b * time' + g' * local';
  }
}
model {
  vector[C] mu; matrix[S, T] p0; vector[N] rate;
  effect_mean ~ normal(0, 0.5); site_effect_sd ~ gamma(2, 10); mix_effect_sd ~ normal(0, 0.25);
  predecessor_effect ~ normal(0, 0.2); ramp_months ~ lognormal(log(4), 0.5);
  baseline_level ~ normal(-2, 0.7); national_slope ~ normal(0, 0.2);
  national_curve_sd ~ lognormal(log(0.08), 0.5); season ~ normal(0, 0.08);
  site_level_sd ~ normal(0, 0.5); site_drift_sd ~ exponential(1 / 0.06);
  site_curve_sd ~ exponential(1 / 0.06); concentration ~ lognormal(log(150), 0.7);
  mix_concentration ~ lognormal(log(300), 0.5);
  mix_raw ~ std_normal(); wave_raw ~ std_normal(); deviation_z ~ std_normal();
  curve_z ~ std_normal(); drift_raw ~ std_normal(); to_vector(bend_raw) ~ std_normal();
  level_z ~ std_normal(); retro_z ~ std_normal();
  retrospective_bias ~ normal(0, 0.15); retrospective_bias_sd ~ normal(0, 0.15);
  crisis_dip ~ normal(0, 0.8); crisis_recovery_months ~ lognormal(log(12), 0.4);
  history_selection ~ normal(0, 0.25);
  for (s in 1:S) {
    int total;
    total = sum(mix_count[s]);
    mix_share[s] ~ dirichlet(rep_vector(1.5, M));
    if (total > 0) {
      target += lgamma(mix_concentration) - lgamma(mix_concentration + total);
      for (m in 1:M)
        target += lgamma(mix_concentration * mix_share[s][m] + mix_count[s, m])
          - lgamma(mix_concentration * mix_share[s][m]);
    }
  }
  for (i in 1:C) {
    int e;
    e = event[cell_site[i], cell_month[i]];
    mu[i] = eta0[cell_site[i], cell_month[i]];
    if (e >= 0) mu[i] += (1 - exp(-(e + 0.5) / ramp_months)) * site_effect[cell_site[i]];
  }
  mu = inv_logit(mu);
  cell_y ~ beta_binomial(cell_n, mu * concentration, (1 - mu) * concentration);
  for (i in 1:R)
    retro_y[i] ~ binomial_logit(retro_n[i], eta0[retro_site[i], retro_month[i]]
      + retrospective_bias + retrospective_bias_sd * retro_z[retro_key[i]]);
  for (i in 1:Q)
    hist_y[i] ~ binomial_logit(hist_n[i], eta0[hist_site[i], hist_month[i]]
      + crisis_dip * exp(-(hist_lag[i] - 1) / crisis_recovery_months) + history_selection);
  p0 = inv_logit(eta0);
  rate = nat_weight * (p0' * nat_share);
  nat_logit ~ multi_normal_cholesky(logit(rate), nat_chol);
  eli_logit ~ multi_normal_cholesky(eli_weight * (eta0 * eli_month), eli_chol);
}
generated quantities {
  real pooled;
  {
    real total; int sites;
    total = 0; sites = 0;
    for (s in 1:S) {
      real sum_ramp; int months;
      sum_ramp = 0; months = 0;
      for (t in 1:T)
        if (event[s, t] >= window_first && event[s, t] <= window_last) {
          sum_ramp += 1 - exp(-(event[s, t] + 0.5) / ramp_months);
          months += 1;
        }
      if (months > 0) { total += sum_ramp / months * site_effect[s]; sites += 1; }
    }
    pooled = total / sites;
  }
}

// The triad of STREAM as its author measures it, in C with OpenMP: prints the bytes per second of the best pass.
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const long n = 16l << 20;
    double *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b), *c = malloc(n * sizeof *c);
    if (!a || !b || !c) return 1;
#pragma omp parallel for
    for (long i = 0; i < n; i++) a[i] = 1, b[i] = 2, c[i] = 0;
    double best = 1e9;
    for (int pass = 0; pass < 60; pass++) {
        double begun = omp_get_wtime();
#pragma omp parallel for
        for (long i = 0; i < n; i++) a[i] = b[i] + 3 * c[i];
        double took = omp_get_wtime() - begun;
        if (pass > 0 && took < best) best = took;
    }
    // The result is used, so that the work must be done.
    return printf("rate: %.0f\n", 24.0 * n / best) < 0 || a[n / 2] != 2;
}

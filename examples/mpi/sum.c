/* Sums f(i) over all i below n; each rank takes its share. The parts are whole numbers: the result does not depend
   on how many ranks there are. */

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int rank, ranks, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    unsigned long long part = 0, sum = 0;
    long n;
    FILE *input;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_processor_name(host, &length);
    /* every rank reads the input: it is at each location */
    input = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (input == NULL || fscanf(input, "%ld", &n) != 1) {
        fprintf(stderr, "rank %d on %s: cannot read its input\n", rank, host);
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (unsigned long long i = rank; i < (unsigned long long)n; i += ranks)
        part += i * i % 1000003;
    MPI_Allreduce(&part, &sum, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
    fprintf(stderr, "rank %d of %d on %s\n", rank, ranks, host);
    if (rank == 0)
        printf("%llu\n", sum);
    MPI_Finalize();
    return 0;
}

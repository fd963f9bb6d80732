/* The few MPI calls that data-parallel training needs, behind plain C types: MPI's own handles
 * differ between implementations, so they are not spelled in Rust. Compiled by build.rs with the
 * implementation's mpicc when the feature mpi is on. Every function returns MPI's error code. */
#include <mpi.h>
#include <stddef.h>

/* MPI counts are int. */
#define CHUNK ((size_t)1 << 28)

int crossscale_mpi_start(int *rank, int *ranks, int *threads_ok) {
  int provided = 0;
  int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
  if (code != MPI_SUCCESS) return code;
  *threads_ok = provided >= MPI_THREAD_SERIALIZED;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  code = MPI_Comm_rank(MPI_COMM_WORLD, rank);
  if (code != MPI_SUCCESS) return code;
  return MPI_Comm_size(MPI_COMM_WORLD, ranks);
}

static int sum(char *values, size_t count, size_t size, MPI_Datatype type) {
  for (size_t done = 0; done < count; done += CHUNK) {
    int part = (int)(count - done < CHUNK ? count - done : CHUNK);
    char *from = values + done * size;
    int code = MPI_Allreduce(MPI_IN_PLACE, from, part, type, MPI_SUM, MPI_COMM_WORLD);
    if (code != MPI_SUCCESS) return code;
  }
  return MPI_SUCCESS;
}

int crossscale_mpi_sum_f32(float *values, size_t count) {
  return sum((char *)values, count, sizeof(float), MPI_FLOAT);
}

int crossscale_mpi_sum_f64(double *values, size_t count) {
  return sum((char *)values, count, sizeof(double), MPI_DOUBLE);
}

int crossscale_mpi_broadcast(unsigned char *bytes, size_t count) {
  for (size_t done = 0; done < count; done += CHUNK) {
    int part = (int)(count - done < CHUNK ? count - done : CHUNK);
    int code = MPI_Bcast(bytes + done, part, MPI_BYTE, 0, MPI_COMM_WORLD);
    if (code != MPI_SUCCESS) return code;
  }
  return MPI_SUCCESS;
}

void crossscale_mpi_abort(int code) { MPI_Abort(MPI_COMM_WORLD, code); }

int crossscale_mpi_end(void) { return MPI_Finalize(); }

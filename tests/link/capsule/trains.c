/* A plain extension module, C or C++, that trains through the functions of the installed bptt and links nothing:
 *
 *     cc -shared -fPIC trains.c $(python -m bptt --cflags) $(python3-config --includes) -o trains.so
 *
 * In pybind11 and nanobind: `if (bptt_import() < 0) throw py::error_already_set();` (nb::python_error()). */
#define PY_SSIZE_T_CLEAN
#include <bptt_capsule.h>

#include "../train.h"

static PyObject *trained(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    double loss = 0;
    const bptt_status status = train(HIDDEN, UPDATES, &loss);
    if (status != BPTT_OK) return PyErr_Format(PyExc_ValueError, "bptt: %s", bptt_status_string(status));
    return PyFloat_FromDouble(loss);
}

static PyMethodDef methods[] = {{"train", trained, METH_NOARGS, "The loss of the last update."}, {NULL, NULL, 0, NULL}};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "trains", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_trains(void) {
    if (bptt_import() < 0) return NULL;
    return PyModule_Create(&module);
}

// network.hpp for Python by pybind11, with the functions of the installed bptt.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <bptt_capsule.h>

#include "network.hpp"

namespace py = pybind11;
using array = py::array_t<float, py::array::c_style | py::array::forcecast>;

static double train(Network &network, const array &x, const array &target,
                    std::int64_t updates, double lr) {
    if (x.ndim() != 3 || x.shape(2) != network.inputs())
        throw py::value_error("x must be (T,B,I) with the I of the network");
    if (target.ndim() != 3 || target.shape(0) != x.shape(0) ||
        target.shape(1) != x.shape(1) || target.shape(2) != network.outputs())
        throw py::value_error("target must be (T,B,O) with the O of the network");
    py::gil_scoped_release released;
    return network.train(x.shape(0), x.shape(1), x.data(), target.data(), updates, lr);
}

static array params(py::object self) { // a view: it keeps the network alive
    auto &values = self.cast<Network &>().params;
    return array(values.size(), values.data(), self);
}

PYBIND11_MODULE(trainer, module) {
    if (bptt_import() < 0) throw py::error_already_set();
    py::class_<Network>(module, "Network")
        .def(py::init<std::int64_t, std::int64_t, std::int64_t>(), py::arg("inputs"),
             py::arg("units"), py::arg("outputs"))
        .def_property_readonly("params", &params)
        .def("train", &train, py::arg("x"), py::arg("target"), py::arg("updates"),
             py::arg("lr") = 1e-2);
}

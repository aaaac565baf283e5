// network.hpp for Python by nanobind, with a copy of the core from libbptt.a.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <bptt.h>

#include "network.hpp"

namespace nb = nanobind;
using array = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using view = nb::ndarray<nb::numpy, float, nb::ndim<1>>;

static double train(Network &network, const array &x, const array &target,
                    std::int64_t updates, double lr) {
    if (x.shape(2) != static_cast<std::size_t>(network.inputs()))
        throw nb::value_error("x must be (T,B,I) with the I of the network");
    if (target.shape(0) != x.shape(0) || target.shape(1) != x.shape(1) ||
        target.shape(2) != static_cast<std::size_t>(network.outputs()))
        throw nb::value_error("target must be (T,B,O) with the O of the network");
    nb::gil_scoped_release released;
    return network.train(x.shape(0), x.shape(1), x.data(), target.data(), updates, lr);
}

static view params(Network &network) {
    return view(network.params.data(), {network.params.size()});
}

NB_MODULE(trainer, module) {
    nb::class_<Network>(module, "Network")
        .def(nb::init<std::int64_t, std::int64_t, std::int64_t>(), nb::arg("inputs"),
             nb::arg("units"), nb::arg("outputs"))
        .def_prop_ro("params", &params, nb::rv_policy::reference_internal)
        .def("train", &train, nb::arg("x"), nb::arg("target"), nb::arg("updates"),
             nb::arg("lr") = 1e-2);
}

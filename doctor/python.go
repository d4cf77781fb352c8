package doctor

import (
	"context"
	"path"

	"github.com/gptctl/gptctl/internal/machine"
)

const groupPython = "python"

func pythonChecks() []Check {
	checks := []Check{
		{ID: "python.version", Title: "Python", Probe: pythonVersion,
			Why: "PyTorch and transformers run in it"},
		{ID: "python.venv", Title: "Virtual environments", Probe: pythonVenv,
			Why: "packages in an environment of their own cannot break the system's"},
		{ID: "python.pip", Title: "pip", Probe: pythonPip,
			Why: "it installs Python's packages"},
		{ID: "python.managed", Title: "Python of the distribution", Probe: pythonManaged,
			Why: "pip refuses to install into it (PEP 668)"},
		{ID: "python.conda", Title: "conda", Probe: pythonConda,
			Why: "conda's libraries come before those of a virtual environment that is made from it"},
		{ID: "python.glibc", Title: "C library for wheels", Probe: pythonGLibC,
			Why: "torch's wheels are made for glibc of this version or newer; pip finds none for others"},
		{ID: "python.torch", Title: "Python for today's torch", Probe: pythonTorch,
			Why: "today's torch has no wheels for older Pythons"},
	}
	for i := range checks {
		checks[i].Group, checks[i].reference = groupPython, true
	}
	return checks
}

func pythonVersion(_ context.Context, e *Env) Finding {
	need := e.Need.Python.Version
	p := e.pythons()
	if len(p) == 0 {
		return judged(e.Need.Python.Missing, "no python3 on the PATH").needs("%s", need).install("python", "install Python")
	}
	if machine.CompareVersions(p[0].Version, need) < 0 {
		for _, other := range p[1:] {
			if machine.CompareVersions(other.Version, need) >= 0 {
				return warned("%s (%s); %s at %s", p[0].Version, p[0].Path, other.Version, other.Path).needs("%s", need).
					mend("", "use %s for the environment", other.Path)
			}
		}
	}
	return atLeast(machine.CompareVersions(p[0].Version, need) >= 0, e.Need.Python.Missing, "%s (%s)", p[0].Version, p[0].Path).
		needs("%s", need).install("python", "install a newer Python beside it")
}

// withPython is a check of the first Python that is new enough.
func withPython(e *Env, judge func(p machine.Python) Finding) Finding {
	for _, p := range e.pythons() {
		if machine.CompareVersions(p.Version, e.Need.Python.Version) >= 0 {
			return judge(p)
		}
	}
	return skipped("there is no Python: see python.version")
}

func pythonVenv(_ context.Context, e *Env) Finding {
	return withPython(e, func(p machine.Python) Finding {
		if p.Venv {
			return passed("venv and ensurepip of %s", p.Version).needs("venv with ensurepip")
		}
		return judged(e.Need.Python.Missing, "%s (%s) lacks venv or ensurepip", p.Version, p.Path).needs("venv with ensurepip").
			install("python", "Debian and Ubuntu have it in a package of its own, python3-venv")
	})
}

func pythonPip(_ context.Context, e *Env) Finding {
	return withPython(e, func(p machine.Python) Finding {
		switch {
		case p.Pip:
			return passed("for %s", p.Version)
		case p.Venv:
			return passed("none in %s itself; an environment brings its own", p.Path)
		}
		return judged(e.Need.Python.Missing, "none for %s", p.Path).needs("pip").install("python", "install pip")
	})
}

func pythonManaged(_ context.Context, e *Env) Finding {
	return withPython(e, func(p machine.Python) Finding {
		if p.ExternallyManaged && !p.Venv {
			return warned("%s is managed by the distribution, and makes no environments", p.Path).needs("an environment").
				install("python", "install what makes environments; --break-system-packages may do as it says")
		}
		if p.ExternallyManaged {
			return passed("%s is managed by the distribution: packages go into an environment", p.Path)
		}
		return passed("%s takes packages itself", p.Path)
	})
}

func pythonConda(_ context.Context, e *Env) Finding {
	prefix, name := e.Host.Getenv("CONDA_PREFIX"), e.Host.Getenv("CONDA_DEFAULT_ENV")
	switch {
	case prefix == "":
		return passed("not active")
	case e.Host.Getenv("VIRTUAL_ENV") != "":
		return warned("active (%s), and a virtual environment, too", yes(name != "", name, "unnamed")).needs("one of them").
			mend("conda deactivate", "leave conda's")
	}
	return warned("active (%s)", yes(name != "", name, "unnamed")).needs("none, or a virtual environment").
		mend("conda deactivate", "leave it before an environment is made")
}

func pythonGLibC(ctx context.Context, e *Env) Finding {
	if e.Host.GOOS != "linux" {
		return skipped("not Linux")
	}
	need := e.Need.Python.GLibC
	switch kind, v := e.Host.LibC(ctx); kind {
	case "musl":
		return judged(e.Need.Python.Missing, "musl").needs("glibc %s", need).mend("", "PyTorch has no wheels for musl: use a distribution with glibc, or a container of one")
	case "glibc":
		return atLeast(machine.CompareVersions(v, need) >= 0, e.Need.Python.Missing, "glibc %s", v).needs("glibc %s", need).
			mend("", "upgrade the distribution, or choose an older torch")
	}
	return skipped("its version is not to be seen")
}

func pythonTorch(_ context.Context, e *Env) Finding {
	need := e.Need.Python.Torch
	var newest machine.Python
	for _, p := range e.pythons() {
		if newest.Version == "" || machine.CompareVersions(p.Version, newest.Version) > 0 {
			newest = p
		}
	}
	if newest.Version == "" {
		return skipped("there is no Python: see python.version")
	}
	if site := e.sitePackages(); site != "" {
		if t, ok := e.Host.Torch(site); ok {
			what := "for the CPU"
			if t.CUDA != "" {
				what = "with CUDA " + t.CUDA
			}
			return passed("torch %s is installed, %s", t.Version, what)
		}
	}
	if machine.CompareVersions(newest.Version, need) >= 0 {
		return passed("%s (%s)", newest.Version, newest.Path).needs("%s", need)
	}
	return warned("%s is the newest here", newest.Version).needs("%s", need).
		install("python", "a newer Python, or else an older torch is chosen for %s", newest.Version)
}

// sitePackages is the active environment's folder of packages, "" without one.
func (e *Env) sitePackages() string { return e.active().SitePackages }

// active is the environment that python3 is of, or that is said to be active: images of
// containers only put its programs first on the PATH. Its Dir is "" without one.
func (e *Env) active() machine.Environment {
	first := path.Dir(path.Dir(e.Host.LookPath("python3")))
	for _, dir := range []string{e.Host.Getenv("VIRTUAL_ENV"), first, e.Host.Getenv("CONDA_PREFIX")} {
		if !path.IsAbs(dir) {
			continue
		}
		env, ok := e.Host.Environment(dir)
		if !ok {
			env, ok = e.Host.CondaEnvironment(dir)
		}
		if ok || dir != first {
			env.Dir = dir
			return env
		}
	}
	return machine.Environment{}
}

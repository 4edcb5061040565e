package k8s_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is what of the operator's resource is used here:
// https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor
type serviceMonitor struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Spec       struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// built is what `kubectl apply -k` would apply.
type built struct {
	deployment *appsv1.Deployment
	service    *corev1.Service
	budget     *policyv1.PodDisruptionBudget
	network    *networkingv1.NetworkPolicy
	monitor    *serviceMonitor
	dashboard  *corev1.ConfigMap
	kinds      []string
}

// build runs kustomize, and decodes what comes of it. Fields that do not exist are errors.
func build(t *testing.T, folder string) built {
	t.Helper()
	found, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(appsv1.AddToScheme(scheme), corev1.AddToScheme(scheme), policyv1.AddToScheme(scheme), networkingv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var b built
	for _, resource := range found.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		b.kinds = append(b.kinds, resource.GetKind())
		switch resource.GetKind() {
		case "PrometheusRule":
			if err := yaml.UnmarshalStrict(text, &prometheusRule{}); err != nil {
				t.Error(err)
			}
			continue
		case "ServiceMonitor":
			b.monitor = &serviceMonitor{}
			if err := yaml.UnmarshalStrict(text, b.monitor); err != nil {
				t.Error(err)
			}
			continue
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", resource.CurId(), err)
		}
		switch o := object.(type) {
		case *appsv1.Deployment:
			b.deployment = o
		case *corev1.Service:
			b.service = o
		case *policyv1.PodDisruptionBudget:
			b.budget = o
		case *networkingv1.NetworkPolicy:
			b.network = o
		case *corev1.ConfigMap:
			b.dashboard = o
		default:
			t.Errorf("it has a %T", object)
		}
	}
	return b
}

// variable is a variable of the deployment's pods, empty where it is not set.
func variable(d *appsv1.Deployment, name string) string {
	for _, v := range d.Spec.Template.Spec.Containers[0].Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func TestDevelopment(t *testing.T) {
	t.Parallel()
	b := build(t, "overlays/dev")
	if !slices.Equal(b.kinds, []string{"Service", "Deployment"}) && !slices.Equal(b.kinds, []string{"Deployment", "Service"}) {
		t.Errorf("it has %v", b.kinds)
	}
	if *b.deployment.Spec.Replicas != 1 || variable(b.deployment, "NODE_ENV") != "development" || variable(b.deployment, "ETL_LAME_DUCK") != "0s" || variable(b.deployment, "TIMEZONE") != "UTC" {
		t.Errorf("%d replicas with %+v", *b.deployment.Spec.Replicas, b.deployment.Spec.Template.Spec.Containers[0].Env)
	}
}

// Whatever picks pods or services picks those of the deployment, by ports that they have.
func TestProduction(t *testing.T) {
	t.Parallel()
	b := build(t, "overlays/production")
	if b.deployment == nil || b.service == nil || b.budget == nil || b.network == nil || b.monitor == nil || b.dashboard == nil {
		t.Fatalf("it has only %v", b.kinds)
	}
	pod := labels.Set(b.deployment.Spec.Template.Labels)
	picks := func(what string, selector *metav1.LabelSelector, set labels.Set) {
		t.Helper()
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(set) {
			t.Errorf("%s picks by %s, and there is %s; %v", what, s, set, err)
		}
	}
	picks("the deployment", b.deployment.Spec.Selector, pod)
	picks("the budget", b.budget.Spec.Selector, pod)
	picks("the policy", &b.network.Spec.PodSelector, pod)
	picks("the monitor", &b.monitor.Spec.Selector, labels.Set(b.service.Labels))
	for _, spread := range b.deployment.Spec.Template.Spec.TopologySpreadConstraints {
		picks("the spread", spread.LabelSelector, pod)
	}
	if len(b.deployment.Spec.Template.Spec.TopologySpreadConstraints) != 1 || *b.deployment.Spec.Replicas != 3 {
		t.Errorf("%+v", b.deployment.Spec)
	}
	if image := b.deployment.Spec.Template.Spec.Containers[0].Image; !strings.HasPrefix(image, "souravdeveloper/ecom-etl:") || strings.HasSuffix(image, ":latest") {
		t.Errorf("the image is %s", image)
	}
	port := b.deployment.Spec.Template.Spec.Containers[0].Ports[0].Name
	if got := b.network.Spec.Ingress[0].Ports[0].Port.StrVal; got != port {
		t.Errorf("the policy opens port %q, the pod has %q", got, port)
	}
	if e := b.monitor.Spec.Endpoints; len(e) != 1 || e[0].Port != b.service.Spec.Ports[0].Name || e[0].Path != "/metrics" {
		t.Errorf("the monitor asks %+v", e)
	}
	if !strings.Contains(b.dashboard.Data["grafana-dashboard.json"], `"etl-replay"`) || b.dashboard.Labels["grafana_dashboard"] != "1" {
		t.Error("there is no dashboard")
	}
}

// What the deployment needs of Secret and ConfigMap is in the example, which has no secret.
func TestSecretExample(t *testing.T) {
	t.Parallel()
	objects, err := decode(read(t, "secret.example.yml"))
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	secret, config := objects[0].(*corev1.Secret), objects[1].(*corev1.ConfigMap)
	_, container, _ := manifest(t)
	if names := fmt.Sprint(container.EnvFrom[1].SecretRef.Name, container.EnvFrom[0].ConfigMapRef.Name); names != secret.Name+config.Name {
		t.Errorf("the pod reads %s, and they are %s and %s", names, secret.Name, config.Name)
	}
	for _, name := range []string{"MONGO_PASSWORD", "CART_DB_URL", "RABBITMQ_ENDPOINT", "JWT_KEY"} {
		if value, is := secret.StringData[name]; !is || strings.Contains(value, "password") {
			t.Errorf("%s is %q in the example", name, value)
		}
	}
	for _, name := range []string{"PRODUCT_SERVICE_MONGODB_URL", "MONGO_USER"} {
		if config.Data[name] == "" {
			t.Errorf("%s is not in the example", name)
		}
	}
}

--- Types of the autoscaling/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
ContainerResourceMetricSource: 1 name string !; 2 targetAverageUtilization int; 3 targetAverageValue quantity;
  5 container string !
ContainerResourceMetricStatus: 1 name string !; 2 currentAverageUtilization int; 3 currentAverageValue quantity !;
  4 container string !
CrossVersionObjectReference atomic: 1 kind string !; 2 name string !; 3 apiVersion string
ExternalMetricSource: 1 metricName string !; 2 metricSelector meta.LabelSelector; 3 targetValue quantity;
  4 targetAverageValue quantity
ExternalMetricStatus: 1 metricName string !; 2 metricSelector meta.LabelSelector; 3 currentValue quantity !;
  4 currentAverageValue quantity
HorizontalPodAutoscaler: 1 metadata meta.ObjectMeta; 2 spec HorizontalPodAutoscalerSpec;
  3 status HorizontalPodAutoscalerStatus
HorizontalPodAutoscalerCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string;
  5 message string
HorizontalPodAutoscalerSpec: 1 scaleTargetRef CrossVersionObjectReference !; 2 minReplicas int; 3 maxReplicas int !;
  4 targetCPUUtilizationPercentage int
HorizontalPodAutoscalerStatus: 1 observedGeneration int; 2 lastScaleTime time; 3 currentReplicas int !;
  4 desiredReplicas int !; 5 currentCPUUtilizationPercentage int
MetricSpec: 1 type string !; 2 object ObjectMetricSource; 3 pods PodsMetricSource; 4 resource ResourceMetricSource;
  7 containerResource ContainerResourceMetricSource; 5 external ExternalMetricSource
MetricStatus: 1 type string !; 2 object ObjectMetricStatus; 3 pods PodsMetricStatus; 4 resource ResourceMetricStatus;
  7 containerResource ContainerResourceMetricStatus; 5 external ExternalMetricStatus
ObjectMetricSource: 1 target CrossVersionObjectReference !; 2 metricName string !; 3 targetValue quantity !;
  4 selector meta.LabelSelector; 5 averageValue quantity
ObjectMetricStatus: 1 target CrossVersionObjectReference !; 2 metricName string !; 3 currentValue quantity !;
  4 selector meta.LabelSelector; 5 averageValue quantity
PodsMetricSource: 1 metricName string !; 2 targetAverageValue quantity !; 3 selector meta.LabelSelector
PodsMetricStatus: 1 metricName string !; 2 currentAverageValue quantity !; 3 selector meta.LabelSelector
ResourceMetricSource: 1 name string !; 2 targetAverageUtilization int; 3 targetAverageValue quantity
ResourceMetricStatus: 1 name string !; 2 currentAverageUtilization int; 3 currentAverageValue quantity !
Scale: 1 metadata meta.ObjectMeta; 2 spec ScaleSpec; 3 status ScaleStatus
ScaleSpec: 1 replicas int zero
ScaleStatus: 1 replicas int !; 2 selector string
]]

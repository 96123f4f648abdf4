--- Types of the apps/v1 API: see sandbox/kubernetes/schema/init.lua for the notation.
return [[
ControllerRevision: 1 metadata meta.ObjectMeta; 2 data raw; 3 revision int !
DaemonSet: 1 metadata meta.ObjectMeta; 2 spec DaemonSetSpec; 3 status DaemonSetStatus
DaemonSetCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string; 5 message string
DaemonSetSpec: 1 selector meta.LabelSelector !; 2 template core/v1.PodTemplateSpec !;
  3 updateStrategy DaemonSetUpdateStrategy; 4 minReadySeconds int zero; 6 revisionHistoryLimit int
DaemonSetStatus: 1 currentNumberScheduled int !; 2 numberMisscheduled int !; 3 desiredNumberScheduled int !;
  4 numberReady int !; 5 observedGeneration int zero; 6 updatedNumberScheduled int zero; 7 numberAvailable int zero;
  8 numberUnavailable int zero; 9 collisionCount int; 10 conditions []DaemonSetCondition map=type merge=type
DaemonSetUpdateStrategy: 1 type string; 2 rollingUpdate RollingUpdateDaemonSet
Deployment: 1 metadata meta.ObjectMeta; 2 spec DeploymentSpec; 3 status DeploymentStatus
DeploymentCondition: 1 type string !; 2 status string !; 6 lastUpdateTime time; 7 lastTransitionTime time;
  4 reason string; 5 message string
DeploymentSpec: 1 replicas int; 2 selector meta.LabelSelector !; 3 template core/v1.PodTemplateSpec !;
  4 strategy DeploymentStrategy retain; 5 minReadySeconds int zero; 6 revisionHistoryLimit int; 7 paused bool zero;
  9 progressDeadlineSeconds int
DeploymentStatus: 1 observedGeneration int zero; 2 replicas int zero; 3 updatedReplicas int zero;
  7 readyReplicas int zero; 4 availableReplicas int zero; 5 unavailableReplicas int zero; 9 terminatingReplicas int;
  6 conditions []DeploymentCondition map=type merge=type; 8 collisionCount int
DeploymentStrategy: 1 type string; 2 rollingUpdate RollingUpdateDeployment
ReplicaSet: 1 metadata meta.ObjectMeta; 2 spec ReplicaSetSpec; 3 status ReplicaSetStatus
ReplicaSetCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string; 5 message string
ReplicaSetSpec: 1 replicas int; 4 minReadySeconds int zero; 2 selector meta.LabelSelector !;
  3 template core/v1.PodTemplateSpec
ReplicaSetStatus: 1 replicas int !; 2 fullyLabeledReplicas int zero; 4 readyReplicas int zero;
  5 availableReplicas int zero; 7 terminatingReplicas int; 3 observedGeneration int zero;
  6 conditions []ReplicaSetCondition map=type merge=type
RollingUpdateDaemonSet: 1 maxUnavailable intstr; 2 maxSurge intstr
RollingUpdateDeployment: 1 maxUnavailable intstr; 2 maxSurge intstr
RollingUpdateStatefulSetStrategy: 1 partition int; 2 maxUnavailable intstr
StatefulSet: 1 metadata meta.ObjectMeta; 2 spec StatefulSetSpec; 3 status StatefulSetStatus
StatefulSetCondition: 1 type string !; 2 status string !; 3 lastTransitionTime time; 4 reason string; 5 message string
StatefulSetOrdinals: 1 start int
StatefulSetPersistentVolumeClaimRetentionPolicy: 1 whenDeleted string; 2 whenScaled string
StatefulSetSpec: 1 replicas int; 2 selector meta.LabelSelector !; 3 template core/v1.PodTemplateSpec !;
  4 volumeClaimTemplates []core/v1.PersistentVolumeClaim; 5 serviceName string; 6 podManagementPolicy string;
  7 updateStrategy StatefulSetUpdateStrategy; 8 revisionHistoryLimit int; 9 minReadySeconds int zero;
  10 persistentVolumeClaimRetentionPolicy StatefulSetPersistentVolumeClaimRetentionPolicy;
  11 ordinals StatefulSetOrdinals
StatefulSetStatus: 1 observedGeneration int zero; 2 replicas int !; 3 readyReplicas int zero;
  4 currentReplicas int zero; 5 updatedReplicas int zero; 6 currentRevision string; 7 updateRevision string;
  9 collisionCount int; 10 conditions []StatefulSetCondition map=type merge=type; 11 availableReplicas int
StatefulSetUpdateStrategy: 1 type string; 2 rollingUpdate RollingUpdateStatefulSetStrategy
]]

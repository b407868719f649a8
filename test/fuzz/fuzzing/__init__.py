# Copyright 2026 The mtl_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that reads what others have made, fed with hostile inputs.

`make fuzz` runs all of it, with more than 100,000 inputs; a small part runs with the tests. What may come back is a
result that keeps its promises, or one of the errors that the reader documents, whose text says where it comes from. All
else is a finding: any other exception, the end of the process, more than 2 s of computing or 64 MiB of memory for an
input (they are all small), a result of other shapes or types.

The entry points, each with the target that feeds it (`test_entry_points` looks whether one is missing here):

    core.labels.LabelSpace.from_dict: label_dict
    core.labels.LabelSpace.load: label_space
    core.outside_files.read_json: metrics
    core.outside_files.read_npz: training_pair
    core.outside_files.read_yaml: label_space
    core.ply.read_mesh: ply
    data.bags.BagReader: bag_mcap
    data.bags.BagReader.messages: serialised_messages
    data.bags.bag_cabin: bag_mcap
    data.bags.bag_cameras: bag_mcap
    data.mcap_chunks.McapChunks: bag_mcap
    data.message_types.types_of: bag_mcap
    data.recordings.bag.read: recording_bag
    data.recordings.camvid.read: recording_camvid
    data.recordings.ddad.read: recording_ddad
    data.recordings.kitti.read: recording_kitti_tracking
    data.recordings.nuscenes.read: recording_nuscenes
    data.recordings.nyu.read: recording_nyu
    data.recordings.open_recording: recording_bag
    data.recordings.picture_files.read_pixels: pictures
    data.recordings.pickles.read_pickle: pickles
    data.recordings.recording.read_depth: pictures
    data.recordings.recording.read_image: pictures
    data.recordings.rgbd.read: recording_rgbd_scenes
    data.recordings.shift.read: recording_shift
    data.world.cameras.rigs.load_rig: rig
    data.world.mesh_path.path_from_file: trajectory_file
    data.world.mesh_scene._read: mesh_ply
    data.world.truth.world_truth.load_world_truth: world_truth
    evaluation.command._cameras: parameter_files
    evaluation.gate.read_baseline: metrics
    evaluation.result.BagResult.load: bag_result
    evaluation.run.read_metrics: metrics
    evaluation.truth.mapping.read_mappings: topic_mappings
    mapping.archives.opened: map
    mapping.archives.read_arrays: map
    mapping.graph.object_files.from_files: map
    mapping.reading.read_map: map
    mapping.storage.load: map
    mapping.storage.settings_of: map
    mapping.window.region_file.read: region
    mapping.window.set_aside.read_parts: map
    messages.bev.from_bev_map: bev_map
    messages.cameras.camera_from_info: calibration
    messages.compressed_images.decode: compressed_images
    messages.compressed_images.decode_depth: compressed_images
    messages.compressed_images.decode_file: pictures
    messages.compressed_images.format_of: compressed_images
    messages.detections.read_detections: detections
    messages.detections.with_velocities: detections
    messages.driving.from_cabin_joints: driving
    messages.driving.from_driving_context: driving
    messages.driving.from_steering: driving
    messages.evaluation.from_evaluation_metrics: evaluation_metrics
    messages.images.depth_to_array: raw_images
    messages.images.image_to_array: raw_images
    messages.images.mono_to_array: raw_images
    messages.images.values_to_array: raw_images
    messages.labels.read_label_info: label_info
    messages.points.read_point_cloud: point_cloud
    messages.points.xyz_of: point_cloud
    messages.poses.read_ego_motion: ego_motion
    messages.poses.read_odometry: poses
    messages.poses.read_pose_stamped: poses
    messages.poses.read_transform: poses
    messages.poses.transform_from_pose: poses
    messages.predictions.from_occupancy: occupancy
    messages.predictions.from_rig_prediction: rig_prediction
    messages.raw_images.colours_of: raw_images
    messages.raw_images.encoding_of: raw_images
    messages.raw_images.pixels_of: raw_images
    messages.rvl.decode_rvl: rvl
    messages.scene_flow.from_scene_flow: scene_flow
    messages.stamps.stamp_ns_from: stamps
    messages.trajectories.read_trajectory: trajectory
    network.checkpoint.load_checkpoint: checkpoint
    network.config.NetworkConfig.load: network_configuration
    ros.label_colours.checked_colours: arguments
    ros.label_colours.label_colours: arguments
    ros.player.header_stamp_ns: stamps
    running.demo.scene_of: world_json
    running.report.read_map: map_mesh
    running.settings.configured_cameras: parameter_files
    training.ablation.study.Study.load: study
    training.config.TrainingConfig.load: training_configuration
    training.distillation.class_names._read: teacher_classes
    training.driving.config.DrivingStageConfig.load: driving_configuration
    training.driving.config.is_driving_stage: driving_configuration
    training.driving.features.ClipFeatures.load: clip_features
    training.sources.pairs.read_pair: training_pair
    training.state.load_state: training_state
    training.validation.single_task.SingleTaskConfig.load: single_task_configuration

Read, but not fed here, and why:

    core.outside_files.read_bytes: what those of JSON and YAML begin with
    evaluation.run.load_run: read_metrics, a number from a file of its own, and BagResult.load
    network.teacher.MultiBackboneTeacher.load: a checkpoint of this program's own training, beside the run
    training.ablation.command.read_stored: figures that this program has written beside the study
    training.ablation.results.StudyResults.read: likewise
    training.distillation.flow_teacher.FlowTeacher.load: MultiBackboneTeacher.load or load_checkpoint
    training.distillation.student.load_start: load_checkpoint
    training.driving.clips.load_clip: a cache of this program's own, rendered anew where it is damaged
    training.start.load_start: load_checkpoint
    training.validation.clip_files.read_clip: a cache of this program's own, rendered anew where it is damaged
    cdr.CdrWriter: only writes; what comes in is deserialised by rclpy, or by rosbags (BagReader.messages)

Called alike, but computing from what has been read:

    core.transforms.quaternion_from_rotation, core.transforms.rotation_from_quaternion,
    data.occupancy.occupancy_from_depth, data.world.indoor.layouts.open_office,
    data.world.scene.linear_from_screen, evaluation.projection.camera_from_base,
    mapping.fusion.blocks.BlockStore.read, mapping.mapper.Mapper.load, mapping.merging.other_map.opened,
    mapping.window.archive.RegionArchive.read, network.motion.se3.matrix_from_vector,
    network.motion.se3.vector_from_matrix, network.panoptic.post_processing.instances_from_queries,
    network.panoptic.post_processing.panoptic_from_centres, network.panoptic.post_processing.panoptic_from_queries,
    network.panoptic.post_processing.semantic_from_queries, network.volume.center_head.CenterHead.decode,
    training.losses.consistency.normals_from_depth
"""
